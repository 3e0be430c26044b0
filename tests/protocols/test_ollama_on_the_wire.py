"""What the codecs write, taken by engines on real sockets; what those answer, read back. No gateway in between."""

from __future__ import annotations

import json

import ollama
import pytest
from openai.types.chat import ChatCompletion
from tests.fakes.raw import once
from tests.protocols.ollama_wire import Json, Ticks, ask, backend, cut, events, lines
from tests.protocols.test_ollama_options import EVERY

from penstock.errors import BrokenAnswer, EngineRefused
from penstock.faults.engine import Engine
from penstock.faults.ollama import OllamaDouble
from penstock.faults.script import Script, ToolUse
from penstock.protocols import table
from penstock.protocols.dialect import Timing
from penstock.types import Kind, Usage

HELLO = [{"role": "user", "content": "hello wide world"}]
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = {"type": "function", "function": {"name": "weather", "description": "d", "parameters": PARAMETERS}}
CALL = Script(tools=(ToolUse(name="weather", arguments='{"city": "Zürich", "at": 1}'),))


async def through(url: str, path: str, body: Json, kind: Kind, model: str) -> tuple[bytes, Usage | None]:
    """One request translated, asked and read back in crumbs."""
    call, to = ask(path, body), backend(kind, model=model, window=2048)
    pairing = table.PAIRINGS[path, to.kind.wire]
    outgoing = pairing.request(call, to)
    clock = Ticks()
    timing = Timing(arrived=clock(), sent=clock())
    answer = await once(url, outgoing.path, json.loads(outgoing.body))
    assert answer.status == 200, answer.body
    reader = pairing.reader(call, to, timing, clock)
    out = b"".join(reader.feed(part) for part in cut(answer.body, range(0, 1 << 12, 7)))
    out += reader.close()
    assert reader.finished
    assert reader.content
    return out, reader.usage


async def test_a_vllm_behind_an_ollama_client(scripted_engine: Engine) -> None:
    """S1.1: every option in one request, streamed and whole, with thoughts."""
    scripted_engine.script = Script(reasoning=("The", " user"), tokens=("gr", "üß", "e 😀"))
    body = {"model": "m", "messages": HELLO, "options": EVERY | {"stop": ["zzz"], "num_predict": 50}, "think": True}
    out, usage = await through(scripted_engine.url, "/api/chat", body, Kind.VLLM, "m")
    answers = [ollama.ChatResponse.model_validate(line) for line in lines(out)]
    assert "".join(answer.message.content or "" for answer in answers) == "grüße 😀"
    assert "".join(answer.message.thinking or "" for answer in answers) == "The user"
    assert usage is not None
    assert (answers[-1].prompt_eval_count, answers[-1].eval_count) == (usage.prompt_tokens, usage.completion_tokens)
    whole, counted = await through(scripted_engine.url, "/api/chat", body | {"stream": False}, Kind.VLLM, "m")
    answer = ollama.ChatResponse.model_validate_json(whole)
    assert (answer.message.content, answer.message.thinking, answer.done_reason) == ("grüße 😀", "The user", "stop")
    assert counted == usage


@pytest.mark.parametrize("stream", [True, False])
async def test_a_tool_call_and_its_result(scripted_engine: Engine, stream: bool) -> None:  # noqa: FBT001
    """S4.5: pieces of arguments become one object; the result finds its call without an id."""
    scripted_engine.script = CALL
    body = {"model": "m", "messages": HELLO, "tools": [WEATHER], "stream": stream}
    out, _ = await through(scripted_engine.url, "/api/chat", body, Kind.VLLM, "m")
    said = [json.loads(line)["message"] for line in out.splitlines()]
    [call] = [call for message in said for call in message.get("tool_calls", ())]
    assert list(call["function"]["arguments"].items()) == [("city", "Zürich"), ("at", 1)]
    del call["id"]
    history = [
        *HELLO,
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_name": "weather", "content": "sun"},
    ]
    out, _ = await through(scripted_engine.url, "/api/chat", body | {"messages": history}, Kind.VLLM, "m")
    assert b"tool_calls" not in out


async def test_generate_and_raw(scripted_engine: Engine) -> None:
    body = {"model": "m", "prompt": "one two three four"}
    for more in ({}, {"raw": True}, {"raw": True, "options": {"num_predict": 3}}):
        out, _ = await through(scripted_engine.url, "/api/generate", body | more, Kind.VLLM, "m")
        said = "".join(line["response"] for line in lines(out))
        assert said == ("one two three" if "options" in more else "one two three four")
        assert lines(out)[-1]["done_reason"] == ("length" if "options" in more else "stop")


async def test_vectors(scripted_engine: Engine, ollama_double: OllamaDouble) -> None:
    out, usage = await through(scripted_engine.url, "/api/embed", {"model": "m", "input": ["a", "b c"]}, Kind.VLLM, "m")
    assert len(ollama.EmbedResponse.model_validate_json(out).embeddings) == 2
    assert usage is not None
    assert usage.prompt_tokens > 0
    out, _ = await through(scripted_engine.url, "/api/embeddings", {"model": "m", "prompt": "a"}, Kind.VLLM, "m")
    assert len(json.loads(out)["embedding"]) == scripted_engine.vector_size
    body = {"model": "m", "input": ["a", "b c"], "encoding_format": "base64"}
    out, _ = await through(ollama_double.url, "/v1/embeddings", body, Kind.OLLAMA, "llama3.2")
    assert [item["index"] for item in json.loads(out)["data"]] == [0, 1]


async def test_a_strict_openai_server_meets_nothing_it_does_not_know(openai_double: Engine) -> None:
    """A field of vLLM's or of ours would be a 400 there."""
    messages = [
        *HELLO,
        {
            "role": "assistant",
            "content": "",
            "thinking": "hm",
            "tool_calls": [{"function": {"name": "weather", "arguments": {}}}],
        },
        {"role": "tool", "tool_name": "weather", "content": "sun"},
        *HELLO,
    ]
    body = {
        "model": "m",
        "messages": messages,
        "tools": [WEATHER],
        "options": EVERY,
        "think": "high",
        "logprobs": True,
        "top_logprobs": 2,
        "format": PARAMETERS,
    }
    await through(openai_double.url, "/api/chat", body, Kind.OPENAI, "gpt-test")
    raw = {"model": "m", "prompt": "a b", "raw": True, "options": EVERY, "think": True}
    await through(openai_double.url, "/api/generate", raw, Kind.OPENAI, "gpt-test")
    await through(
        openai_double.url, "/api/embed", {"model": "m", "input": "a", "dimensions": 2}, Kind.OPENAI, "gpt-test"
    )


async def test_an_ollama_behind_an_openai_client(ollama_double: OllamaDouble) -> None:
    """S3.22: the fallback on Ollama's own API."""
    body = {
        "model": "m", "messages": HELLO, "max_tokens": 50, "temperature": 0, "top_p": 0.9, "seed": 3, "stop": "zzz",
        "presence_penalty": 0.1, "frequency_penalty": 0.1, "logit_bias": {"1": 1}, "user": "u",
    }  # fmt: skip
    whole, usage = await through(ollama_double.url, "/v1/chat/completions", body, Kind.OLLAMA, "llama3.2")
    answer = ChatCompletion.model_validate_json(whole)
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == ("hello wide world", "stop")
    asked = {"stream": True, "stream_options": {"include_usage": True}}
    out, counted = await through(ollama_double.url, "/v1/chat/completions", body | asked, Kind.OLLAMA, "llama3.2")
    *chunks, last = events(out)
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks) == "hello wide world"
    assert answer.usage is not None
    assert last["usage"]["total_tokens"] == answer.usage.total_tokens
    assert usage == counted
    ollama_double.script = CALL
    out, _ = await through(
        ollama_double.url, "/v1/chat/completions", body | {"tools": [WEATHER], "stream": True}, Kind.OLLAMA, "llama3.2"
    )
    [call] = [call for chunk in events(out) for call in chunk["choices"][0]["delta"].get("tool_calls", ())]
    assert json.loads(call["function"]["arguments"]) == {"city": "Zürich", "at": 1}
    prompt = {"model": "m", "prompt": "one two", "max_tokens": 1}
    out, _ = await through(ollama_double.url, "/v1/completions", prompt, Kind.OLLAMA, "llama3.2")
    assert json.loads(out)["choices"][0] == {"index": 0, "text": "one", "logprobs": None, "finish_reason": "length"}


async def test_an_ollama_behind_an_ollama_client(ollama_double: OllamaDouble) -> None:
    body = {"model": "m", "messages": HELLO, "options": {"temperature": 0, "num_ctx": 2048}, "keep_alive": "5m"}
    out, usage = await through(ollama_double.url, "/api/chat", body, Kind.OLLAMA, "llama3.2")
    assert [line["message"]["content"] for line in lines(out)] == ["hello", " wide", " world", ""]
    assert usage is not None
    assert usage.completion_tokens == 3
    for path, empty in (("/api/chat", {"messages": []}), ("/api/generate", {"keep_alive": 0})):
        out, _ = await through(ollama_double.url, path, {"model": "m"} | empty, Kind.OLLAMA, "llama3.2")
        assert json.loads(out)["done_reason"] in {"load", "unload"}


FAULTS = [
    (Script(count=5, cut_after=3, cut="eos"), BrokenAnswer),
    (Script(count=5, malformed_after=2), BrokenAnswer),
    (Script(count=5, error_after=2, message="the device is gone"), EngineRefused),
]


@pytest.mark.parametrize(("script", "fault"), FAULTS)
async def test_faults_of_a_vllm_are_seen(scripted_engine: Engine, script: Script, fault: type[Exception]) -> None:
    """S1.35."""
    scripted_engine.script = script
    with pytest.raises(fault):
        await through(scripted_engine.url, "/api/chat", {"model": "m", "messages": HELLO}, Kind.VLLM, "m")


@pytest.mark.parametrize(("script", "fault"), FAULTS)
@pytest.mark.parametrize(("path", "stream"), [("/api/chat", True), ("/v1/chat/completions", True)])
async def test_faults_of_an_ollama_are_seen(
    ollama_double: OllamaDouble,
    script: Script,
    fault: type[Exception],
    path: str,
    stream: bool,  # noqa: FBT001
) -> None:
    """S1.35."""
    ollama_double.script = script
    body = {"model": "m", "messages": HELLO, "stream": stream}
    with pytest.raises(fault):
        await through(ollama_double.url, path, body, Kind.OLLAMA, "llama3.2")
