"""The measuring client on real sockets: connections kept and lost, answers cut, limits kept."""

from __future__ import annotations

import asyncio

import pytest

from penstock.bench.answer import OpenAIReading
from penstock.bench.speech import PATHS, Wish, request_body
from penstock.bench.wire import Origin, get
from penstock.bench.workload import Message, Prompt
from penstock.errors import BrokenAnswer, ConfigError, EngineFault, EngineTimeout, Unreachable
from penstock.faults.engine import Engine
from penstock.faults.script import Script
from penstock.types import Wire

BODY = request_body(Wire.OPENAI, "m", Prompt(1, (Message("user", "one two three"),)), Wish())
PATH = PATHS[Wire.OPENAI]


async def asked(origin: Origin, limit: float = 20.0) -> OpenAIReading:
    reading = OpenAIReading(0, 1, 0)
    await origin.ask("POST", PATH, BODY, reading, limit)
    return reading


async def test_a_connection_is_kept_and_used_again(scripted_engine: Engine) -> None:
    origin = Origin(scripted_engine.url)
    for _ in range(5):
        assert (await asked(origin)).sample().completion_tokens == 3
    assert scripted_engine.accepted == 1
    origin.close()


async def test_a_connection_closed_while_idle_is_replaced_without_a_fault(scripted_engine: Engine) -> None:
    origin = Origin(scripted_engine.url)
    for _ in range(3):
        await asked(origin)
        assert scripted_engine.close_idle() == 1
    assert scripted_engine.accepted == 3
    origin.close()


async def test_an_engine_that_asks_to_close_gets_a_new_connection(scripted_engine: Engine) -> None:
    scripted_engine.script = Script(close=True)
    origin = Origin(scripted_engine.url)
    for _ in range(2):
        await asked(origin)
    assert scripted_engine.accepted == 2
    origin.close()


@pytest.mark.parametrize(
    ("script", "fault"),
    [
        (Script(cut_after=1, cut="rst"), BrokenAnswer),
        (Script(cut_after=1, cut="fin"), BrokenAnswer),
        (Script(cut_after=1, cut="eos"), BrokenAnswer),
        (Script(malformed_after=1), BrokenAnswer),
        (Script(reset=True), Unreachable),
        (Script(body="<html>no</html>"), BrokenAnswer),
    ],
)
async def test_what_breaks_is_told_apart(scripted_engine: Engine, script: Script, fault: type[EngineFault]) -> None:
    scripted_engine.script = script
    origin = Origin(scripted_engine.url)
    with pytest.raises(fault):
        await asked(origin)
    scripted_engine.script = Script()
    assert (await asked(origin)).sample().fault == ""
    origin.close()


async def test_a_silent_engine_is_left_after_the_limit(scripted_engine: Engine) -> None:
    scripted_engine.script = Script(silent=True)
    origin = Origin(scripted_engine.url)
    with pytest.raises(EngineTimeout, match=r"within 0\.2 s"):
        await asked(origin, 0.2)
    origin.close()


async def test_giving_up_ends_the_engines_work(scripted_engine: Engine) -> None:
    hold = scripted_engine.hold(before=1)
    origin = Origin(scripted_engine.url)
    task = asyncio.create_task(asked(origin))
    await hold.reached()
    task.cancel()
    assert (await scripted_engine.aborted()).tokens == 1
    with pytest.raises(asyncio.CancelledError):
        await task
    origin.close()


async def test_nobody_there() -> None:
    async with Engine() as engine:
        url = engine.url
    with pytest.raises(Unreachable, match="refused"):
        await get(Origin(url), "/v1/models", 5)


async def test_a_key_that_no_header_may_hold_is_refused() -> None:
    with pytest.raises(ConfigError) as refused:
        Origin("http://127.0.0.1:1", "secret\r\nx: y")
    assert "secret" not in refused.value.sentence()


async def test_a_slow_head_is_one_answer(scripted_engine: Engine) -> None:
    scripted_engine.script = Script(head_gap=0.0005)
    origin = Origin(scripted_engine.url)
    assert (await asked(origin)).sample().finish == "stop"
    origin.close()


@pytest.mark.parametrize(("whole", "fault"), [(True, ""), (False, "the stream ended before the answer was complete")])
async def test_an_answer_that_ends_with_its_connection(whole: bool, fault: str) -> None:  # noqa: FBT001 - a parameter
    """As HTTP/1.0 has them: complete only if the protocol inside says so."""
    events = b'data: {"choices":[{"delta":{"content":"one"},"finish_reason":"stop"}]}\n\n'
    answer = b"HTTP/1.0 200 OK\r\ncontent-type: text/event-stream\r\n\r\n" + events
    ending = b"data: [DONE]\n\n" if whole else b""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer + ending)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        origin = Origin(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        if whole:
            assert (await asked(origin)).sample().finish == "stop"
        else:
            with pytest.raises(BrokenAnswer, match=fault):
                await asked(origin)
        origin.close()
