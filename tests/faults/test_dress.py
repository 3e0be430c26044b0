"""Odd ways to write a stream are valid ones: the official client reads every one of them; the wrong ones are wrong."""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncIterator
from typing import Any, get_args

import openai
import pytest
import pytest_asyncio
from tests.fakes.raw import Raw, once

from penstock.faults.dress import malformed
from penstock.faults.engine import Engine
from penstock.faults.reply import Reply
from penstock.faults.script import Break, Habit, Script

WORDS = "water für 水力 🌊 turbines"
ASK: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": WORDS}]}
STREAM = {**ASK, "stream": True}
ODD: dict[str, Script] = {
    **{habit: Script(habits=(habit,)) for habit in get_args(Habit)},
    "all habits": Script(habits=get_args(Habit)),
    "crlf": Script(line_end="crlf"),
    "cr": Script(line_end="cr"),
    "byte by byte": Script(write=1),
    "in sevens": Script(write=7, line_end="crlf", habits=get_args(Habit)),
    "done twice": Script(done="twice"),
    "more after done": Script(done="followed"),
    "done forgotten": Script(done="never"),
}


@pytest_asyncio.fixture
async def client(scripted_engine: Engine) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{scripted_engine.url}/v1", api_key="x", max_retries=0) as asking:
        yield asking


@pytest.mark.parametrize("odd", ODD)
async def test_the_official_client_reads_what_is_merely_odd(
    client: openai.AsyncOpenAI, scripted_engine: Engine, odd: str
) -> None:
    scripted_engine.script = ODD[odd]
    stream = await client.chat.completions.create(**STREAM)
    assert "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices]) == WORDS


async def test_what_they_look_like(scripted_engine: Engine) -> None:
    async def body(script: Script) -> bytes:
        scripted_engine.script = script
        return (await once(scripted_engine.url, "/v1/chat/completions", STREAM)).body

    assert b"\r\n\r\n" in await body(Script(line_end="crlf"))
    assert (await body(Script(line_end="cr"))).count(b"\n") == 0
    assert b"data:{" in await body(Script(habits=("no-space",)))
    assert b"data: {\ndata: " in await body(Script(habits=("split-data",)))
    assert b"\x00" in await body(Script(habits=("comments",)))
    assert (await body(Script(habits=("bom",)))).startswith(b"\xef\xbb\xbfdata: ")
    assert b"[DONE]" not in await body(Script(done="never"))
    assert (await body(Script(done="twice"))).count(b"[DONE]") == 2
    assert not (await body(Script(done="followed"))).endswith(b"[DONE]\n\n")
    assert len(await body(Script(giant_after=1, giant=100_000))) > 100_000


@pytest.mark.parametrize("how", get_args(Break))
@pytest.mark.parametrize("lines", [False, True])
def test_wrong_events_are_wrong(how: Break, *, lines: bool) -> None:
    """No piece of an answer can be read out of what is written."""
    reply = Reply(tokens=0, lines=lines, malformed=b"{" if lines else b"data: {\n\n")
    event = malformed(Script(malformed=how), reply)
    data = event if lines else event.removeprefix(b"data: ")
    try:
        told = json.loads(data.decode())
    except ValueError:
        return
    assert "choices" not in told or data is event


async def test_compression(scripted_engine: Engine) -> None:
    scripted_engine.script = Script(gzip=True)
    stream = await once(scripted_engine.url, "/v1/chat/completions", STREAM)
    assert stream.header("content-encoding") == "gzip"
    assert b"data: [DONE]" in gzip.decompress(stream.body)
    whole = await once(scripted_engine.url, "/v1/chat/completions", ASK)
    assert json.loads(gzip.decompress(whole.body))["choices"][0]["message"]["content"] == WORDS


async def test_an_answer_byte_for_byte(scripted_engine: Engine) -> None:
    scripted_engine.script = Script(raw="HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n\xe9!", close=True)
    async with Raw(scripted_engine.url) as raw:
        raw.ask("/v1/chat/completions", ASK)
        assert (await raw.answer()).body == b"\xe9!"
