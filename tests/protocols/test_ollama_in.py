"""Requests of Ollama clients written for OpenAI-speaking engines."""

from __future__ import annotations

import json

import pytest
from tests.protocols.ollama_wire import Json, ask, backend, write

from penstock.errors import BadRequest, Unsupported
from penstock.protocols import table
from penstock.types import Kind, Wire

OPENAI_KINDS = (Kind.VLLM, Kind.EMBEDDED, Kind.OPENAI)
HI = [{"role": "user", "content": "hi"}]
SCHEMA = {"type": "object", "properties": {"z": {"type": "integer"}, "a": {}}, "required": ["z"]}


def chat(kind: Kind = Kind.VLLM, **fields: object) -> tuple[Json, tuple[str, ...]]:
    written, outgoing = write(
        "/api/chat", {"model": "m", "messages": HI} | fields, backend(kind, ollama_defaults=False)
    )
    assert outgoing.path == "/v1/chat/completions"
    return written, outgoing.dropped


def generate(kind: Kind = Kind.VLLM, **fields: object) -> tuple[Json, tuple[str, ...], str]:
    written, outgoing = write(
        "/api/generate", {"model": "m", "prompt": "hi"} | fields, backend(kind, ollama_defaults=False)
    )
    return written, outgoing.dropped, outgoing.path


@pytest.mark.parametrize("kind", OPENAI_KINDS)
def test_the_plainest_chat(kind: Kind) -> None:
    """S1.1: counts come from the engine, so a stream always asks for its usage."""
    assert chat(kind) == (
        {"model": "engine-model", "messages": HI, "stream": True, "stream_options": {"include_usage": True}},
        (),
    )
    assert chat(kind, stream=False)[0] == {"model": "engine-model", "messages": HI, "stream": False}


@pytest.mark.parametrize("kind", OPENAI_KINDS)
def test_nulls_are_absent(kind: Kind) -> None:
    nulls = dict.fromkeys(("options", "format", "tools", "think", "keep_alive", "logprobs", "top_logprobs", "truncate"))
    assert chat(kind, stream=None, **nulls) == chat(kind)


@pytest.mark.parametrize("kind", OPENAI_KINDS)
def test_formats(kind: Kind) -> None:
    assert chat(kind, format="json")[0]["response_format"] == {"type": "json_object"}
    found = chat(kind, format=SCHEMA)[0]["response_format"]
    assert found == {"type": "json_schema", "json_schema": {"name": "response", "schema": SCHEMA}}
    assert list(found["json_schema"]["schema"]["properties"]) == ["z", "a"]
    assert "response_format" not in chat(kind, format="")[0]


@pytest.mark.parametrize(
    ("kind", "think", "said", "dropped"),
    [
        (Kind.VLLM, True, {"chat_template_kwargs": {"enable_thinking": True}}, ()),
        (Kind.VLLM, False, {"chat_template_kwargs": {"enable_thinking": False}}, ()),
        (Kind.VLLM, "low", {"chat_template_kwargs": {"enable_thinking": True}, "reasoning_effort": "low"}, ()),
        (Kind.VLLM, "max", {"chat_template_kwargs": {"enable_thinking": True}, "reasoning_effort": "max"}, ()),
        (Kind.EMBEDDED, False, {"chat_template_kwargs": {"enable_thinking": False}}, ()),
        (Kind.EMBEDDED, "high", {"chat_template_kwargs": {"enable_thinking": True, "reasoning_effort": "high"}}, ()),
        (Kind.OPENAI, True, {"reasoning_effort": "medium"}, ()),
        (Kind.OPENAI, "high", {"reasoning_effort": "high"}, ()),
        (Kind.OPENAI, "max", {"reasoning_effort": "high"}, ("think",)),
        (Kind.OPENAI, False, {}, ("think",)),
    ],
)
def test_thinking(kind: Kind, think: object, said: Json, dropped: tuple[str, ...]) -> None:
    plain, _ = chat(kind)
    assert chat(kind, think=think) == (plain | said, dropped)


def test_tools_pass_unread() -> None:
    """S4.5: an Ollama client's tools reach the engine byte for byte."""
    tool = b'{"type":"function","function":{"name":"f","parameters":{"type":"object","properties":{"z":{"type":["string","null"]},"a":{"x":1.50}}}}}'
    call = ask("/api/chat", b'{"model":"m","messages":[{"role":"user","content":"x"}],"tools":[' + tool + b"]}")
    body = table.PAIRINGS["/api/chat", Wire.OPENAI].request(call, backend()).body
    assert b'"tools":[' + tool + b"]" in body
    assert "tools" not in chat(tools=[])[0]


def test_logprobs() -> None:
    assert chat(logprobs=True, top_logprobs=3)[0].items() >= {"logprobs": True, "top_logprobs": 3}.items()
    assert "top_logprobs" not in chat(logprobs=True)[0]
    assert "top_logprobs" not in chat(top_logprobs=3)[0]
    assert generate(raw=True, logprobs=True, top_logprobs=3)[0]["logprobs"] == 3
    assert generate(raw=True, logprobs=True)[0]["logprobs"] == 1


def test_wishes_of_ollamas_scheduler_are_named() -> None:
    assert chat(truncate=True, shift=True, keep_alive=0)[1] == ("truncate", "shift", "keep_alive")
    assert chat(truncate=False, shift=False, keep_alive="5m")[1] == ()


def test_generate_is_a_chat_of_one_turn() -> None:
    written, dropped, path = generate(system="be brief", images=["iVBORw0KGgo="], context=[1, 2], width=3)
    assert path == "/v1/chat/completions"
    assert [message["role"] for message in written["messages"]] == ["system", "user"]
    assert written["messages"][1]["content"][0] == {"type": "text", "text": "hi"}
    assert written["messages"][1]["content"][1]["image_url"]["url"].startswith("data:image/png;base64,")
    assert dropped == ("context", "width")
    assert generate()[0]["messages"] == HI


@pytest.mark.parametrize(
    ("kind", "window", "limit", "dropped"),
    [
        (Kind.VLLM, 8192, {"max_tokens": 8192}, ()),
        (Kind.VLLM, None, {"max_tokens": 2048}, ("num_predict",)),
        (Kind.EMBEDDED, None, {}, ()),
        (Kind.OPENAI, None, {"max_tokens": 2048}, ("num_predict",)),
        (Kind.OPENAI, 1000, {"max_tokens": 500}, ("num_predict",)),
    ],
)
def test_raw_is_a_completion_without_a_limit(
    kind: Kind, window: int | None, limit: Json, dropped: tuple[str, ...]
) -> None:
    """Silence and null mean 16 tokens to vLLM on this route, so the window is said; it is cut to what fits there."""
    to = backend(kind, window=window, ollama_defaults=False)
    written, outgoing = write("/api/generate", {"model": "m", "prompt": "hi", "raw": True}, to)
    plain = {"model": "engine-model", "prompt": "hi", "stream": True, "stream_options": {"include_usage": True}}
    assert (written, outgoing.dropped, outgoing.path) == (plain | limit, dropped, "/v1/completions")
    assert generate(kind, raw=True, options={"num_predict": 3})[0]["max_tokens"] == 3


def test_raw_can_be_held_to_json() -> None:
    assert generate(raw=True, format="json")[0]["response_format"] == {"type": "json_object"}
    assert generate(raw=True, format=SCHEMA)[0]["response_format"]["json_schema"]["schema"] == SCHEMA
    assert generate(Kind.EMBEDDED, raw=True, format=SCHEMA)[0]["json_schema"] == SCHEMA
    assert generate(Kind.EMBEDDED, raw=True, format="json")[0]["json_schema"] == {"type": "object"}
    limit = {"num_predict": 5}
    assert generate(Kind.OPENAI, raw=True, format="json", options=limit)[1] == ("format",)
    assert generate(Kind.OPENAI, raw=True, format="", options=limit)[1] == ()


def test_suffix() -> None:
    written, dropped, path = generate(suffix="end", system="s", think=True)
    assert (path, written["suffix"]) == ("/v1/completions", "end")
    assert set(dropped) == {"system", "think", "num_predict"}
    with pytest.raises(Unsupported, match="ignores `suffix`"):
        generate(Kind.EMBEDDED, suffix="end")


def test_what_would_change_the_meaning_is_refused() -> None:
    with pytest.raises(Unsupported, match="template") as caught:
        generate(template="{{ .Prompt }}")
    assert caught.value.param == "template"
    with pytest.raises(Unsupported, match="images"):
        generate(raw=True, images=["iVBORw0KGgo="])


def test_embed() -> None:
    body = {"model": "m", "input": ["a", "é"], "dimensions": 3, "options": {"num_ctx": 9}, "keep_alive": "5m"}
    written, outgoing = write("/api/embed", body, backend(Kind.VLLM))
    assert outgoing.path == "/v1/embeddings"
    assert written == {
        "model": "engine-model",
        "input": ["a", "é"],
        "encoding_format": "float",
        "truncate_prompt_tokens": -1,
    }
    assert outgoing.dropped == ("num_ctx",)
    assert write("/api/embed", {"model": "m", "input": "a"}, backend())[0]["input"] == ["a"]


@pytest.mark.parametrize(
    ("kind", "truncate", "cuts", "dropped"),
    [
        (Kind.VLLM, None, True, ()),
        (Kind.VLLM, True, True, ()),
        (Kind.VLLM, False, False, ()),
        (Kind.EMBEDDED, None, False, ()),
        (Kind.EMBEDDED, True, False, ("truncate",)),
        (Kind.OPENAI, False, False, ()),
    ],
)
def test_texts_too_long_are_cut_where_the_engine_can(
    kind: Kind,
    truncate: bool | None,  # noqa: FBT001
    cuts: bool,  # noqa: FBT001
    dropped: tuple[str, ...],
) -> None:
    written, outgoing = write("/api/embed", {"model": "m", "input": "a", "truncate": truncate}, backend(kind))
    assert ("truncate_prompt_tokens" in written) is cuts
    assert outgoing.dropped == dropped


def test_the_older_embeddings() -> None:
    written, outgoing = write(
        "/api/embeddings", {"model": "m", "prompt": "a", "options": {"num_gpu": 1}}, backend(Kind.OPENAI)
    )
    assert (written["input"], outgoing.path, outgoing.dropped) == (["a"], "/v1/embeddings", ("num_gpu",))


@pytest.mark.parametrize(
    ("path", "body", "wanted"),
    [
        ("/api/chat", {"messages": []}, {"message": {"role": "assistant", "content": ""}, "done_reason": "load"}),
        ("/api/chat", {"keep_alive": 0}, {"message": {"role": "assistant", "content": ""}, "done_reason": "unload"}),
        ("/api/generate", {}, {"response": "", "done_reason": "load"}),
        ("/api/generate", {"prompt": "", "keep_alive": 0}, {"response": "", "done_reason": "unload"}),
    ],
)
def test_loading_and_unloading_succeed_at_once(path: str, body: Json, wanted: Json) -> None:
    call = ask(path, {"model": "m"} | body)
    answer = json.loads(table.IDLERS[path].idle(call, backend()))
    assert answer.pop("created_at").endswith("Z")
    assert answer == {"model": "engine-model", "done": True} | wanted


def test_a_body_that_is_wrong_only_for_a_backend_is_refused_there() -> None:
    with pytest.raises(BadRequest):
        chat(messages=[{"role": "user", "content": "x", "images": ["!"]}])
