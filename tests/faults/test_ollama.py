"""The Ollama double, checked by the official client: what it accepts here is what it would accept of a real server."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from typing import Any

import ollama
import pytest
import pytest_asyncio
from tests.fakes.threads import in_thread

from penstock.faults.ollama import OllamaDouble
from penstock.faults.ollama_shapes import OllamaModel
from penstock.faults.script import Script, ToolUse

HELLO = [{"role": "user", "content": "hello wide world"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather in a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
THINKER = OllamaModel(name="thinker:latest", capabilities=("completion", "thinking", "vision"))


@pytest_asyncio.fixture
async def double() -> AsyncIterator[OllamaDouble]:
    async with OllamaDouble(["llama3.2", THINKER]) as running:
        yield running


@pytest_asyncio.fixture
async def client(double: OllamaDouble) -> AsyncIterator[ollama.AsyncClient]:
    async with ollama.AsyncClient(double.url) as asking:
        yield asking


async def test_chat_whole(client: ollama.AsyncClient) -> None:
    answer = await client.chat("llama3.2", HELLO)
    assert answer.message.content == "hello wide world"
    assert (answer.done, answer.done_reason, answer.eval_count, answer.prompt_eval_count) == (True, "stop", 3, 4)
    assert answer.total_duration
    assert answer.load_duration


async def test_chat_stream(client: ollama.AsyncClient) -> None:
    chunks = [chunk async for chunk in await client.chat("llama3.2", HELLO, stream=True)]
    assert [chunk.message.content for chunk in chunks] == ["hello", " wide", " world", ""]
    assert [chunk.done for chunk in chunks] == [False, False, False, True]
    assert chunks[-1].eval_count == 3
    assert chunks[0].eval_count is None


async def test_generate_whole_and_stream(client: ollama.AsyncClient) -> None:
    whole = await client.generate("llama3.2", "one two three", options={"num_predict": 2})
    assert (whole.response, whole.done_reason, whole.eval_count) == ("one two", "length", 2)
    chunks = [chunk async for chunk in await client.generate("llama3.2", "one two", stream=True)]
    assert "".join(chunk.response or "" for chunk in chunks) == "one two"


async def test_synchronous_client(double: OllamaDouble) -> None:
    def ask() -> tuple[str | None, list[str | None], list[str | None]]:
        with ollama.Client(double.url) as client:
            whole = client.chat("llama3.2", HELLO)
            chunks = list(client.chat("llama3.2", HELLO, stream=True))
            said = list(client.generate("llama3.2", "a b", stream=True))
        return whole.message.content, [chunk.message.content for chunk in chunks], [part.response for part in said]

    whole, chunks, said = await in_thread(ask)
    assert whole == "hello wide world"
    assert chunks == ["hello", " wide", " world", ""]
    assert said == ["a", " b", ""]


async def test_load_states(client: ollama.AsyncClient, double: OllamaDouble) -> None:
    """X14: cold, warm, unloaded."""
    assert not (await client.ps()).models
    loaded = await client.generate("llama3.2")
    assert (loaded.done_reason, loaded.response) == ("load", "")
    assert [model.model for model in (await client.ps()).models] == ["llama3.2:latest"]
    warm = await client.chat("llama3.2", HELLO)
    assert warm.load_duration
    assert warm.load_duration < 1_000_000
    unloaded = await client.chat("llama3.2", [], keep_alive=0)
    assert unloaded.done_reason == "unload"
    assert not (await client.ps()).models
    double.loadable = False
    with pytest.raises(ollama.ResponseError, match="more system memory") as refused:
        await client.chat("llama3.2", HELLO)
    assert refused.value.status_code == 500


async def test_keep_alive_forms(client: ollama.AsyncClient) -> None:
    for value in ("5m", "1h30m", "-1m", 30, -1):
        assert (await client.chat("llama3.2", HELLO, keep_alive=value)).done
    with pytest.raises(ollama.ResponseError, match="invalid duration"):
        await client.chat("llama3.2", HELLO, keep_alive="soon")


async def test_library(client: ollama.AsyncClient) -> None:
    listed = await client.list()
    assert [model.model for model in listed.models] == ["llama3.2:latest", "thinker:latest"]
    shown = await client.show("llama3.2")
    assert shown.modelinfo
    assert shown.modelinfo["llama.context_length"] == 4096
    assert shown.capabilities == ["completion", "tools"]


async def test_tools_round_trip(client: ollama.AsyncClient) -> None:
    asked = [{"role": "user", "content": 'call weather {"city": "Paris"}'}]
    whole = await client.chat("llama3.2", asked, tools=[WEATHER])
    assert whole.message.tool_calls
    assert whole.message.tool_calls[0].function.name == "weather"
    assert whole.message.tool_calls[0].function.arguments == {"city": "Paris"}
    assert whole.done_reason == "stop"
    chunks = [chunk async for chunk in await client.chat("llama3.2", asked, tools=[WEATHER], stream=True)]
    calls = [call for chunk in chunks for call in chunk.message.tool_calls or ()]
    assert [call.function.arguments for call in calls] == [{"city": "Paris"}]
    turn: list[Any] = [*asked, whole.message, {"role": "tool", "tool_name": "weather", "content": "rain"}]
    final = await client.chat("llama3.2", turn, tools=[WEATHER])
    assert not final.message.tool_calls
    assert final.message.content


async def test_scripted_tools(client: ollama.AsyncClient, double: OllamaDouble) -> None:
    double.script = Script(tools=(ToolUse(name="weather", arguments='{"city":"Rome"}'),))
    answer = await client.chat("llama3.2", HELLO, tools=[WEATHER])
    assert answer.message.tool_calls
    assert answer.message.tool_calls[0].function.arguments == {"city": "Rome"}


async def test_thinking(client: ollama.AsyncClient) -> None:
    answer = await client.chat("thinker", HELLO, think=True)
    assert answer.message.thinking == "The user said something."
    assert answer.message.content == "hello wide world"
    chunks = [chunk async for chunk in await client.generate("thinker", "a b", think=True, stream=True)]
    assert "".join(chunk.thinking or "" for chunk in chunks) == "The user said something."
    quiet = await client.chat("thinker", HELLO, think=False)
    assert quiet.message.thinking is None
    with pytest.raises(ollama.ResponseError, match="does not support thinking"):
        await client.chat("llama3.2", HELLO, think=True)


async def test_images_and_format(client: ollama.AsyncClient, double: OllamaDouble) -> None:
    pixel = base64.b64encode(b"\x89PNG not really").decode()
    await client.chat("thinker", [{"role": "user", "content": "see", "images": [pixel]}])
    assert pixel in double.requests[-1].body.decode()
    plain = await client.chat("llama3.2", HELLO, format="json")
    assert plain.message.content == '{"answer":"hello wide world"}'
    schema = {"type": "object", "properties": {"n": {"type": "integer"}, "ok": {"type": "boolean"}}}
    formed = await client.chat("llama3.2", HELLO, format=schema)
    assert formed.message.content == '{"n":1,"ok":true}'


async def test_embeddings(client: ollama.AsyncClient) -> None:
    one = await client.embed("llama3.2", "a b")
    two = await client.embed("llama3.2", ["a b", "c"], dimensions=4)
    assert len(one.embeddings) == 1
    assert [len(vector) for vector in two.embeddings] == [4, 4]
    assert two.prompt_eval_count == 3
    assert (await client.embed("llama3.2", "")).embeddings == []
    old = await client.embeddings("llama3.2", "a b")
    assert list(old.embedding) == list(one.embeddings[0])


async def test_errors(client: ollama.AsyncClient, double: OllamaDouble) -> None:
    with pytest.raises(ollama.ResponseError, match="model 'nope' not found") as missing:
        await client.chat("nope", HELLO)
    assert missing.value.status_code == 404
    with pytest.raises(ollama.ResponseError, match="must be of type float32"):
        await client.chat("llama3.2", HELLO, options={"temperature": "hot"})
    double.script = Script(error_after=1, message="the runner died")
    with pytest.raises(ollama.ResponseError, match="the runner died"):
        [chunk async for chunk in await client.chat("llama3.2", HELLO, stream=True)]
    double.script = Script(status=503, message="server busy, please try again.  maximum pending requests exceeded")
    with pytest.raises(ollama.ResponseError, match="server busy"):
        await client.generate("llama3.2", "x")


async def test_a_client_that_leaves_is_seen(double: OllamaDouble) -> None:
    gate = double.hold(before=1)
    async with ollama.AsyncClient(double.url) as leaving:
        stream = await leaving.chat("llama3.2", HELLO, stream=True)
        first = await anext(aiter(stream))
        await gate.reached()
        assert first.message.content == "hello"
    assert (await double.aborted()).tokens == 1
