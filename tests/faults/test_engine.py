"""The scripted engine, checked by the official OpenAI client and on the bare wire."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
import pytest_asyncio
from tests.fakes.openai import openai_engine
from tests.fakes.raw import Raw, once

from penstock.faults.condition import Gauges, Model
from penstock.faults.engine import Engine
from penstock.faults.script import Script, parse

HELLO: list[Any] = [{"role": "user", "content": "hello wide world"}]
ASK = {"model": "m", "messages": HELLO}
_AFTER = ["content_block_stop", "message_delta", "message_stop"]
TOOLS: list[Any] = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
    }
]


@pytest_asyncio.fixture
async def client(scripted_engine: Engine) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{scripted_engine.url}/v1", api_key="x", max_retries=0) as asking:
        yield asking


async def test_chat(client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(model="m", messages=HELLO)
    assert answer.choices[0].message.content == "hello wide world"
    assert answer.usage
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (4, 3)


async def test_chat_stream(client: openai.AsyncOpenAI) -> None:
    options: Any = {"include_usage": True}
    stream = await client.chat.completions.create(model="m", messages=HELLO, stream=True, stream_options=options)
    chunks = [chunk async for chunk in stream]
    assert [chunk.choices[0].delta.content for chunk in chunks[:-1]] == ["", "hello", " wide", " world", ""]
    assert chunks[-1].usage
    assert chunks[-1].usage.completion_tokens == 3
    bare = await client.chat.completions.create(model="m", messages=HELLO, stream=True)
    assert [chunk.usage async for chunk in bare if chunk.usage] == []


async def test_limits(client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(model="m", messages=HELLO, max_tokens=2)
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == ("hello wide", "length")


async def test_tools_split_in_the_middle(client: openai.AsyncOpenAI) -> None:
    asked: list[Any] = [{"role": "user", "content": 'call weather {"city": "Paris"}'}]
    whole = await client.chat.completions.create(model="m", messages=asked, tools=TOOLS)
    calls = whole.choices[0].message.tool_calls
    assert calls
    assert calls[0].type == "function"
    assert json.loads(calls[0].function.arguments) == {"city": "Paris"}
    stream = await client.chat.completions.create(model="m", messages=asked, tools=TOOLS, stream=True)
    deltas = [chunk.choices[0].delta.tool_calls async for chunk in stream]
    parts = [call.function.arguments for delta in deltas for call in delta or () if call.function]
    assert len([part for part in parts if part]) == 3
    assert json.loads("".join(part or "" for part in parts)) == {"city": "Paris"}
    result = {"role": "tool", "tool_call_id": calls[0].id, "content": "rain"}
    turn: list[Any] = [*asked, whole.choices[0].message.model_dump(exclude_none=True), result]
    final = await client.chat.completions.create(model="m", messages=turn, tools=TOOLS)
    assert final.choices[0].message.content
    assert not final.choices[0].message.tool_calls


async def test_completions_embeddings_responses(client: openai.AsyncOpenAI) -> None:
    said = await client.completions.create(model="m", prompt="a b c")
    assert said.choices[0].text == "a b c"
    vectors = await client.embeddings.create(model="m", input=["a", "b", "a"])
    assert vectors.data[0].embedding == vectors.data[2].embedding != vectors.data[1].embedding
    response = await client.responses.create(model="m", input="a b c")
    assert response.output_text == "a b c"
    assert (await client.responses.retrieve(response.id)).output_text == "a b c"
    events = [event.type async for event in await client.responses.create(model="m", input="a b", stream=True)]
    assert events[0] == "response.created"
    assert events[-1] == "response.completed"


async def test_transcription_hears_every_byte(client: openai.AsyncOpenAI) -> None:
    sound = bytes(range(256)) + b"\r\n--boundary\r\n"
    heard = await client.audio.transcriptions.create(model="m", file=("a.wav", sound))
    assert heard.text == f"heard {len(sound)} bytes"


async def test_messages(scripted_engine: Engine) -> None:
    ask = {"model": "m", "max_tokens": 9, "messages": HELLO}
    whole = await once(scripted_engine.url, "/v1/messages", ask)
    assert whole.json()["content"] == [{"type": "text", "text": "hello wide world"}]
    stream = await once(scripted_engine.url, "/v1/messages", {**ask, "stream": True})
    names = [event.split(b"\n")[0].removeprefix(b"event: ").decode() for event in stream.events]
    assert names == ["message_start", "content_block_start", *["content_block_delta"] * 3, *_AFTER]


@pytest.mark.parametrize(
    ("ask", "status", "words"),
    [
        ({"model": "nope", "messages": []}, 404, "The model `nope` does not exist. Valid aliases: m."),
        ({"model": "m", "messages": "x"}, 400, "Input should be a valid list"),
        ({"model": "m"}, 400, "Field required"),
        ({**ASK, "max_tokens": 4097}, 400, "max_tokens=4097 cannot be greater than max_model_len=4096."),
        ({**ASK, "max_completion_tokens": 9999}, 400, "max_completion_tokens=9999 cannot be greater than"),
        ({**ASK, "max_tokens": 0}, 400, "max_tokens must be at least 1, got 0."),
        ({**ASK, "temperature": "warm"}, 400, "'type': 'float_parsing', 'loc': 'body.temperature'"),
        ({**ASK, "messages": [{"role": "user", "content": 5}]}, 400, "'loc': 'body.messages.0.content'"),
        ({**ASK, "tools": [{"function": {}}]}, 400, "'type': 'missing', 'loc': 'body.tools.0.function.name'"),
        ({"model": "m", "messages": [{"role": "user", "content": "a " * 5000}]}, 400, "maximum context length"),
    ],
)
async def test_refusals(scripted_engine: Engine, ask: object, status: int, words: str) -> None:
    answer = await once(scripted_engine.url, "/v1/chat/completions", ask)
    assert answer.status == status
    assert words in answer.error


async def test_a_limit_beside_a_long_prompt_is_cut_to_what_fits(scripted_engine: Engine) -> None:
    """As vLLM does: a limit is refused only where it passes the window by itself."""
    scripted_engine.models["m"] = Model("m", 10)
    scripted_engine.script = Script(count=20)
    answer = (await once(scripted_engine.url, "/v1/chat/completions", {**ASK, "max_tokens": 10})).json()
    assert answer["usage"] == {"prompt_tokens": 4, "completion_tokens": 6, "total_tokens": 10}
    assert answer["choices"][0]["finish_reason"] == "length"


ROUTES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {
        "messages": HELLO,
        "tools": TOOLS,
        "tool_choice": "auto",
        "stop": "x",
        "max_completion_tokens": 5,
        "response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "array"}}},
        "stream": False,
    },
    "/v1/completions": {"prompt": "a", "stream_options": None, "structured_outputs": None, "logprobs": 1},
    "/v1/messages": {"messages": HELLO, "max_tokens": 5, "system": "a", "tools": [], "tool_choice": {"type": "auto"}},
    "/v1/messages/count_tokens": {"messages": HELLO},
    "/v1/responses": {"input": "a", "instructions": "b", "tools": [], "previous_response_id": None, "store": True},
    "/v1/embeddings": {"input": "a", "dimensions": 4, "encoding_format": "float"},
    "/score": {"text_1": "a", "text_2": ["a", "b"], "queries": "a", "documents": "b"},
    "/rerank": {"query": "a", "documents": ["a", "b"], "top_n": 1},
    "/tokenize": {"prompt": "a", "return_token_strs": True},
    "/detokenize": {"tokens": [1]},
}
ODD: tuple[Any, ...] = (
    1967.0,
    1.5,
    -1,
    10**12,
    True,
    "x",
    "5",
    None,
    [],
    [1],
    [[]],
    ["x"],
    [{}],
    {},
    {"type": 1},
    [None],
)


@pytest.mark.parametrize("path", ROUTES)
async def test_no_type_leaves_a_client_waiting(scripted_engine: Engine, path: str) -> None:
    """Whatever stands in a field, there is an answer; stopping the engine raises what would have broken it."""
    for field in ROUTES[path]:
        for value in ODD:
            answer = await once(scripted_engine.url, path, {"model": "m", **ROUTES[path], field: value})
            assert answer.status in {200, 400, 404}, (field, value, answer.body)


async def test_a_number_is_read_as_pydantic_reads_it(scripted_engine: Engine) -> None:
    ask = {"model": "m", "query": "a", "documents": ["a", "b"]}
    for value in (1, 1.0, "1"):
        answer = await once(scripted_engine.url, "/rerank", {**ask, "top_n": value})
        assert len(answer.json()["results"]) == 1
    refused = await once(scripted_engine.url, "/rerank", {**ask, "top_n": 1.5})
    assert (refused.status, "'loc': 'body.top_n'" in refused.error) == (400, True)


async def test_condition(scripted_engine: Engine) -> None:
    url = scripted_engine.url
    assert (await once(url, "/health")).body == b""
    models = (await once(url, "/v1/models")).json()["data"]
    assert [(model["id"], model["max_model_len"]) for model in models] == [("m", 4096)]
    scripted_engine.models["n"] = Model("n", 512)
    assert len((await once(url, "/v1/models")).json()["data"]) == 2
    assert "/v1/embeddings" in (await once(url, "/openapi.json")).json()["paths"]
    scripted_engine.gauges = Gauges(waiting=7, cache=0.5)
    assert b'vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.5' in (await once(url, "/metrics")).body
    scripted_engine.gauges = Gauges(waiting=7, cache=0.5, old=True)
    assert b"vllm:gpu_cache_usage_perc" in (await once(url, "/metrics")).body
    scripted_engine.healthy = False
    assert (await once(url, "/health")).status == 503


async def test_tokens_there_and_back(scripted_engine: Engine) -> None:
    tokens = (await once(scripted_engine.url, "/tokenize", {"model": "m", "prompt": "a b  c"})).json()["tokens"]
    back = await once(scripted_engine.url, "/detokenize", {"model": "m", "tokens": tokens})
    assert back.json() == {"prompt": "a b  c"}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("how", ["rst", "fin", "eos"])
async def test_cut(scripted_engine: Engine, how: str, *, stream: bool) -> None:
    scripted_engine.script = parse(json.dumps({"cut_after": 2, "cut": how}))
    answer = await once(scripted_engine.url, "/v1/chat/completions", {**ASK, "stream": stream})
    assert answer.complete is (stream and how == "eos")
    assert b"[DONE]" not in answer.body
    assert answer.body.count(b'"content":" wide"') == stream
    assert not scripted_engine.aborts


async def test_per_request_script_and_refusal(scripted_engine: Engine) -> None:
    header = 'x-script: {"status": 429, "retry_after": "7"}'
    answer = await once(scripted_engine.url, "/v1/chat/completions", ASK, header)
    assert (answer.status, answer.header("retry-after")) == (429, "7")
    assert (await once(scripted_engine.url, "/v1/chat/completions", ASK)).status == 200


async def test_errors_inside_a_stream(scripted_engine: Engine) -> None:
    scripted_engine.next.extend([Script(error_after=1), Script(malformed_after=1)])
    broken = await once(scripted_engine.url, "/v1/chat/completions", {**ASK, "stream": True})
    assert b'"error":{"message":"EngineCore' in broken.events[-2]
    odd = await once(scripted_engine.url, "/v1/chat/completions", {**ASK, "stream": True})
    assert any(event == b'data: {"id": "x", "choices": [{"delta"' for event in odd.events)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("before", [0, 2])
async def test_an_abort_is_seen_before_the_next_token(scripted_engine: Engine, before: int, *, stream: bool) -> None:
    """H6: held before a token, so an abort seen now came before it."""
    gate = scripted_engine.hold(before)
    async with Raw(scripted_engine.url) as client:
        client.ask("/v1/chat/completions", {**ASK, "stream": stream})
        await gate.reached()
    abort = await scripted_engine.aborted()
    assert abort.tokens == before
    await scripted_engine.until(lambda: scripted_engine.running == 0, "the request to end")
    assert scripted_engine.answered == 0


async def test_stops_and_comes_back_on_its_port(scripted_engine: Engine) -> None:
    url = scripted_engine.url
    await scripted_engine.stop()
    with pytest.raises(OSError, match="Connect"):
        await once(url, "/health")
    await scripted_engine.start()
    assert scripted_engine.url == url
    assert (await once(url, "/health")).status == 200


async def test_idle_connections_can_be_closed(scripted_engine: Engine) -> None:
    async with Raw(scripted_engine.url) as client:
        client.ask("/v1/chat/completions", ASK)
        assert (await client.answer()).keep_alive
        await scripted_engine.until(lambda: scripted_engine.running == 0, "the request to end")
        assert scripted_engine.close_idle() == 1
        await client.end()


async def test_strict_openai_refuses_what_openai_does_not_know() -> None:
    async with openai_engine() as double:
        good = await once(double.url, "/v1/chat/completions", {"model": "gpt-test", "messages": HELLO})
        assert good.status == 200
        leak = {"model": "gpt-test", "messages": HELLO, "cache_salt": "x"}
        bad = await once(double.url, "/v1/chat/completions", leak)
        assert (bad.status, bad.error) == (400, "Unrecognized request argument supplied: cache_salt")
        assert "max_model_len" not in (await once(double.url, "/v1/models")).json()["data"][0]
        assert (await once(double.url, "/health")).status == 404


async def test_as_a_process() -> None:
    command = (sys.executable, "-P", "-m", "penstock.faults.engine", "--port", "0", "--model", "m", "--model", "n")
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        assert process.stdout is not None
        async with asyncio.timeout(20):
            said = json.loads(await process.stdout.readline())
        assert said["models"] == ["m", "n"]
        header = 'x-script: {"tokens": ["one", " two"]}'
        answer = await once(said["url"], "/v1/chat/completions", {"model": "n", "messages": HELLO}, header)
        assert answer.json()["choices"][0]["message"]["content"] == "one two"
    finally:
        process.terminate()
        assert await process.wait() == 0
