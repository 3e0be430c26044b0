"""Heads of requests, the smallest splice, and whole answers."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.protocols.ollama_wire import CUTS, Json, ask, backend, cut, reader

from penstock.errors import BadRequest, BrokenAnswer, EngineRefused
from penstock.protocols import table
from penstock.types import Face, Kind, Operation, Usage

CHAT = "/v1/chat/completions"


def outgoing(path: str, body: Json | bytes, kind: Kind = Kind.VLLM, model: str = "engine-model") -> bytes:
    return table.PAIRINGS[path, kind.wire].request(ask(path, body), backend(kind, model=model)).body


def test_a_head() -> None:
    call = ask(CHAT, {"model": "m", "stream": True, "user": "u", "stream_options": {"include_usage": True}, "x": [1]})
    assert (call.operation, call.face, call.model, call.stream) == (Operation.CHAT, Face.OPENAI, "m", True)
    assert (call.session, call.usage_asked) == ("u", True)
    assert ask(CHAT, {"session_id": "s", "user": "u"}).session == "s"
    assert ask("/v1/responses", {"previous_response_id": "resp_1"}).previous == "resp_1"
    assert ask("/v1/messages", {"model": "m"}).face is Face.ANTHROPIC


@pytest.mark.parametrize("path", ["/v1/embeddings", "/tokenize", "/v1/rerank", "/v1/audio/speech"])
def test_what_cannot_stream_is_not_asked_to(path: str) -> None:
    assert not ask(path, {"model": "m", "stream": True}).stream


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"a","model":"b"}', b'{"stream":false,"stream":true}', b'{"model":"m","str\\u0065am":true,"stream":false}',
        b'{"stream":"yes"}', b'{"model":["m"]}', b'{"stream_options":true}', b"[]", b"", b"{",
    ],
)  # fmt: skip
def test_a_contradictory_head_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequest):
        ask(CHAT, body)


@given(
    st.dictionaries(st.text(max_size=5), st.none() | st.integers() | st.text(max_size=5), max_size=4),
    st.booleans(),
    st.sampled_from(
        [None, {}, {"include_usage": False}, {"include_usage": True}, {"include_usage": None, "x": [1.50]}]
    ),
    st.booleans(),
)
@settings(max_examples=80)
def test_the_engine_gets_the_clients_body_with_its_own_model_name(
    extra: Json,
    stream: bool,  # noqa: FBT001 - drawn
    options: Json | None,
    named: bool,  # noqa: FBT001 - drawn
) -> None:
    body: Json = {**extra, "stream": stream, "messages": []}
    if named:
        body["model"] = "alias"
    else:
        body.pop("model", None)
    if options is not None:
        body["stream_options"] = options
    else:
        body.pop("stream_options", None)
    wanted = body | {"model": "engine-model"}
    if stream:
        wanted["stream_options"] = {**(options or {}), "include_usage": True}
    assert json.loads(outgoing(CHAT, body)) == wanted


def test_a_body_that_needs_no_edit_is_the_same_bytes() -> None:
    body = b'{ "model" : "engine-model",\n "messages":[], "temperature":1.0e0 }'
    assert outgoing(CHAT, body) == body


@pytest.mark.parametrize("path", ["/v1/responses", "/v1/messages"])
def test_usage_is_only_asked_where_it_would_be_missing(path: str) -> None:
    assert b"stream_options" not in outgoing(path, {"model": "m", "stream": True})


def test_a_body_for_ollama_must_mean_the_same_to_go() -> None:
    with pytest.raises(BadRequest, match="odel"):
        outgoing("/v1/responses", b'{"model":"m","Model":"other","input":"x"}', Kind.OLLAMA)
    assert b'"Model"' in outgoing("/v1/responses", b'{"model":"m","Model":"other","input":"x"}')


WHOLE = b"""{"id":"c-1","model":"real","choices":[{"index":0,"finish_reason":"length","message":{"content":"x"}}],
 "usage":{"prompt_tokens":3,"completion_tokens":4}}"""


@given(CUTS)
@settings(max_examples=30)
def test_a_whole_answer_passes_unchanged_once_it_is_whole(cuts: list[int]) -> None:
    one, _ = reader(CHAT, {"model": "m"}, backend())
    assert [one.feed(part) for part in cut(WHOLE, cuts)] == [b""] * (len(cuts) + 1)
    assert not one.finished
    assert one.close() == WHOLE
    assert (one.usage, one.model, one.finish_reason, one.finished) == (Usage(3, 4), "real", "length", True)


@given(st.integers(0, len(WHOLE) - 1))
@settings(max_examples=40)
def test_half_an_answer_is_broken(length: int) -> None:
    one, _ = reader(CHAT, {"model": "m"}, backend())
    one.feed(WHOLE[:length])
    with pytest.raises(BrokenAnswer, match="not the JSON"):
        one.close()


def test_an_error_inside_a_200_is_the_engines_fault() -> None:
    one, _ = reader(CHAT, {"model": "m"}, backend())
    one.feed(b'{"error":{"message":"no room"}}')
    with pytest.raises(EngineRefused, match="no room"):
        one.close()


def test_answers_that_are_arrays_pass() -> None:
    one, _ = reader("/rerank", {"model": "m"}, backend())
    one.feed(b'[{"index":0}]')
    assert one.close() == b'[{"index":0}]'
    assert one.usage is None


def test_input_and_output_tokens_count_as_well() -> None:
    one, _ = reader("/v1/messages", {"model": "m"}, backend())
    one.feed(b'{"content":[],"stop_reason":"end_turn","usage":{"input_tokens":5,"output_tokens":6}}')
    one.close()
    assert one.usage == Usage(5, 6)
