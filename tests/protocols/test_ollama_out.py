"""Requests of OpenAI clients written for Ollama's own API."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.protocols.ollama_wire import Json, ask, backend, tried, write

from penstock.errors import BadRequest, Refusal
from penstock.protocols import ollama_call, table
from penstock.types import Kind, Wire

HI = [{"role": "user", "content": "hi"}]
PATHS = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings")
TOOL = {
    "type": "function",
    "function": {"name": "f", "parameters": {"type": "object", "properties": {"z": {}, "a": {}}}},
}


def chat(**fields: object) -> tuple[Json, tuple[str, ...]]:
    written, outgoing = write("/v1/chat/completions", {"model": "m", "messages": HI} | fields, backend(Kind.OLLAMA))
    assert outgoing.path == "/api/chat"
    ollama_call.decode("/api/chat", outgoing.body, "")
    return written, outgoing.dropped


def complete(**fields: object) -> tuple[Json, tuple[str, ...]]:
    written, outgoing = write("/v1/completions", {"model": "m", "prompt": "hi"} | fields, backend(Kind.OLLAMA))
    assert outgoing.path == "/api/generate"
    ollama_call.decode("/api/generate", outgoing.body, "")
    return written, outgoing.dropped


PLAIN = {"model": "engine-model", "messages": HI, "stream": False, "options": {}, "truncate": False, "shift": False}


def test_the_plainest_chat() -> None:
    """S3.22: the fallback gets the same conversation; one that does not fit is an error there too."""
    assert chat() == (PLAIN, ())
    assert chat(stream=True, stream_options={"include_usage": True})[0] == PLAIN | {"stream": True}


def test_sampling() -> None:
    written, dropped = chat(
        max_tokens=9, temperature=0, top_p=0.5, top_k=-1, min_p=0.1, typical_p=0.9, seed=3, stop="x",
        presence_penalty=0.5, frequency_penalty=1, repetition_penalty=1.25, repeat_last_n=8,
    )  # fmt: skip
    assert dropped == ()
    assert written["options"] == {
        "num_predict": 9, "temperature": 0, "top_p": 0.5, "top_k": 0, "min_p": 0.1, "typical_p": 0.9, "seed": 3,
        "stop": ["x"], "presence_penalty": 0.5, "frequency_penalty": 1, "repeat_penalty": 1.25, "repeat_last_n": 8,
    }  # fmt: skip
    assert chat(max_tokens=9, max_completion_tokens=4, stop=["a", "b"])[0]["options"] == {
        "num_predict": 4,
        "stop": ["a", "b"],
    }
    assert chat(max_tokens=1)[0]["options"] == {"num_predict": 1}
    assert chat(max_tokens=None, stop=None)[0]["options"] == {}


def test_formats() -> None:
    schema = {"type": "object", "properties": {"z": {}, "a": {}}}
    assert chat(response_format={"type": "json_object"})[0]["format"] == "json"
    found = chat(
        response_format={"type": "json_schema", "json_schema": {"name": "n", "strict": True, "schema": schema}}
    )
    assert found[0]["format"] == schema
    assert list(found[0]["format"]["properties"]) == ["z", "a"]
    assert chat(response_format={"type": "text"}) == (PLAIN, ())
    assert chat(response_format={"type": "structural_tag"}) == (PLAIN, ("response_format",))


@pytest.mark.parametrize(
    ("fields", "think", "dropped"),
    [
        ({"reasoning_effort": "none"}, False, ()),
        ({"reasoning_effort": "minimal"}, "low", ()),
        ({"reasoning_effort": "high"}, "high", ()),
        ({"reasoning_effort": "xhigh"}, "max", ()),
        ({"reasoning_effort": "odd"}, None, ("reasoning_effort",)),
        ({"chat_template_kwargs": {"enable_thinking": False}}, False, ()),
        ({"chat_template_kwargs": {"enable_thinking": True, "x": 1}}, True, ("chat_template_kwargs.x",)),
        ({"chat_template_kwargs": {"enable_thinking": "y"}}, None, ("chat_template_kwargs.enable_thinking",)),
        ({"reasoning_effort": "low", "chat_template_kwargs": {"enable_thinking": True}}, "low", ()),
    ],
)
def test_thinking(fields: Json, think: object, dropped: tuple[str, ...]) -> None:
    written, found = chat(**fields)
    assert (written.get("think"), found) == (think, dropped)


def test_tools() -> None:
    """S4.5."""
    assert chat(tools=[TOOL], tool_choice="auto") == (PLAIN | {"tools": [TOOL]}, ())
    assert chat(tools=[TOOL], tool_choice="none") == (PLAIN, ())
    assert chat(tools=[TOOL], tool_choice="required")[1] == ("tool_choice",)
    assert chat(tools=[TOOL], tool_choice={"type": "function", "function": {"name": "f"}})[1] == ("tool_choice",)
    assert chat(tools=[TOOL], parallel_tool_calls=False)[1] == ("parallel_tool_calls",)
    assert chat(tools=[], tool_choice="auto", parallel_tool_calls=True) == (PLAIN, ())


def test_logprobs() -> None:
    assert chat(logprobs=True, top_logprobs=2)[0].items() >= {"logprobs": True, "top_logprobs": 2}.items()
    assert chat(logprobs=False, top_logprobs=None) == (PLAIN, ())
    assert complete(logprobs=2)[0].items() >= {"logprobs": True, "top_logprobs": 2}.items()


def test_what_cannot_be_said_is_named() -> None:
    """Never silently; members that change nothing in the answer are not worth a word."""
    assert chat(logit_bias={"1": 2}, ignore_eos=True, user="u", metadata={}, guided_json={}, functions=None, n=1)[1] == (
        "logit_bias", "ignore_eos", "guided_json",
    )  # fmt: skip
    assert chat(messages=[{"role": "user", "name": "anna", "content": "hi"}]) == (PLAIN, ("name",))


@pytest.mark.parametrize(
    "fields",
    [
        {"n": 2},
        {"max_tokens": 0},
        {"max_completion_tokens": -1},
        {"messages": "hi"},
        {"messages": [{"content": "x"}]},
        {"temperature": "hot"},
    ],
)
def test_a_chat_that_ollama_cannot_have(fields: Json) -> None:
    with pytest.raises(BadRequest) as caught:
        chat(**fields)
    assert caught.value.param


def test_a_completion_is_raw_and_short_unless_it_says_otherwise() -> None:
    """S1.10: OpenAI's contract for this route is 16 tokens, and vLLM reads null the same way."""
    plain = {"model": "engine-model", "prompt": "hi", "stream": False, "raw": True, "truncate": False, "shift": False}
    assert complete() == (plain | {"options": {"num_predict": 16}}, ())
    assert complete(max_tokens=None) == complete()
    assert complete(max_tokens=90, prompt=["hi"], best_of=1) == (plain | {"options": {"num_predict": 90}}, ())
    assert complete(echo=True, user="u")[1] == ("echo",)
    assert complete(response_format={"type": "json_object"})[0]["format"] == "json"


def test_a_suffix_needs_the_models_own_template() -> None:
    written, _ = complete(suffix="end")
    assert written["suffix"] == "end"
    assert "raw" not in written


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt": [1, 2]},
        {"prompt": [[1]]},
        {"prompt": ["a", "b"]},
        {"prompt": []},
        {"prompt": None},
        {"n": 3},
        {"best_of": 2},
    ],
)
def test_a_completion_that_ollama_cannot_have(fields: Json) -> None:
    with pytest.raises(BadRequest):
        complete(**fields)


def test_embeddings() -> None:
    written, outgoing = write("/v1/embeddings", {"model": "m", "input": "a", "user": "u", "x": 1}, backend(Kind.OLLAMA))
    assert (written, outgoing.path, outgoing.dropped) == (
        {"model": "engine-model", "input": ["a"], "truncate": False},
        "/api/embed",
        ("x",),
    )
    body = {"model": "m", "input": ["a", "b"], "dimensions": 4, "encoding_format": "base64"}
    written, outgoing = write("/v1/embeddings", body, backend(Kind.OLLAMA))
    assert (written["input"], written["dimensions"], outgoing.dropped) == (["a", "b"], 4, ())


@pytest.mark.parametrize("fields", [{"input": [1, 2]}, {"input": {}}, {"encoding_format": "hex"}])
def test_embeddings_that_ollama_cannot_have(fields: Json) -> None:
    with pytest.raises(BadRequest):
        write("/v1/embeddings", {"model": "m", "input": "a"} | fields, backend(Kind.OLLAMA))


@pytest.mark.parametrize("path", PATHS)
def test_there_is_no_idle_idiom_to_answer(path: str) -> None:
    assert ask(path, {"model": "m", "input": "", "messages": [], "prompt": ""}).idle is None
    assert path not in table.IDLERS


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=5,
)
PART = st.fixed_dictionaries(
    {"type": st.sampled_from(["text", "image_url", "refusal", "file"])},
    optional={
        "text": st.text(max_size=3),
        "image_url": st.fixed_dictionaries(
            {"url": st.sampled_from(["data:image/png;base64,iVBORw0KGgo=", "data:;base64,!", "http://x"])}
        ),
    },
)
TURN = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "tool", "developer", "function"])},
    optional={
        "content": st.none() | st.text(max_size=4) | st.lists(PART, max_size=2),
        "tool_call_id": st.text(max_size=2),
        "name": st.text(max_size=2),
        "reasoning": st.text(max_size=2),
    },
)
REQUEST = st.fixed_dictionaries(
    {"model": st.just("m"), "messages": st.lists(TURN, max_size=3), "prompt": st.text(max_size=4) | JSON, "input": st.text(max_size=4) | JSON},
    optional={
        "stream": st.booleans(), "n": st.integers(0, 2), "stop": JSON, "response_format": JSON, "tool_choice": JSON, "tools": st.lists(JSON, max_size=2),
        "reasoning_effort": st.text(max_size=4), "chat_template_kwargs": st.dictionaries(st.just("enable_thinking"), JSON),
        "max_tokens": st.none() | st.integers(-1, 5), "temperature": JSON, "logprobs": st.booleans() | st.integers(0, 3), "zz": JSON,
    },
)  # fmt: skip


@given(st.sampled_from(PATHS), REQUEST)
def test_every_request_is_written_or_refused(path: str, body: Json) -> None:
    pairing = table.PAIRINGS[path, Wire.OLLAMA]
    outgoing = tried(lambda: pairing.request(ask(path, body), backend(Kind.OLLAMA)))
    if isinstance(outgoing, Refusal):
        assert outgoing.status == 400
        assert outgoing.sentence()
        return
    assert json.loads(outgoing.body)["model"] == "engine-model"
    assert len(set(outgoing.dropped)) == len(outgoing.dropped)
    # What we write is a request that our own Ollama face takes.
    assert ollama_call.decode(outgoing.path, outgoing.body, "").model == "engine-model"
