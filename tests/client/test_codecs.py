"""The codecs: whatever the chunking, the same pieces; and what is no answer is none."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.client.answer import Piece, Source
from penstock.client.ask import Ask, Message, ToolCall
from penstock.client.codec import Codec
from penstock.client.ollama_codec import OllamaCodec
from penstock.client.openai_codec import OpenAICodec
from penstock.errors import BadRequest, BrokenAnswer, EngineRefused, PenstockError
from penstock.types import Kind, Usage

SOURCE = Source(Kind.VLLM, "http://127.0.0.1:1", "m")
OPENAI, OLLAMA = OpenAICodec(), OllamaCodec()


def events(*bodies: object, done: bool = True) -> bytes:
    parts = [f"data: {json.dumps(body)}\n\n" for body in bodies]
    return "".join([": keep-alive\n\n", *parts, *(["data: [DONE]\n\n"] if done else [])]).encode()


def lines(*bodies: object) -> bytes:
    return "".join(f"{json.dumps(body)}\n" for body in bodies).encode()


def chunk(delta: dict[str, Any], finish: str | None = None, **more: object) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **more}


CALL = {"index": 0, "id": "c1", "function": {"name": "look", "arguments": ""}}
OPENAI_STREAM = events(
    chunk({"role": "assistant", "content": ""}),
    chunk({"reasoning": "Hm."}),
    chunk({"content": "Grüße "}),
    chunk({"content": "🚀"}),
    chunk({"tool_calls": [CALL]}),
    chunk({"tool_calls": [{"index": 0, "function": {"arguments": '{"a"'}}]}),
    chunk({"tool_calls": [{"index": 0, "function": {"arguments": ": 1}"}}]}),
    chunk({}, "tool_calls"),
    {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}},
)
OLLAMA_STREAM = lines(
    {"message": {"role": "assistant", "content": "", "thinking": "Hm."}, "done": False},
    {"message": {"role": "assistant", "content": "Grüße "}, "done": False},
    {"message": {"role": "assistant", "content": "🚀"}, "done": False},
    {"message": {"content": "", "tool_calls": [{"function": {"name": "look", "arguments": {"a": 1}}}]}, "done": False},
    {
        "message": {"role": "assistant", "content": ""},
        "done": True,
        "done_reason": "stop",
        "prompt_eval_count": 3,
        "eval_count": 4,
    },
)


def read(codec: Codec, data: bytes, cuts: list[int]) -> list[Piece]:
    reader = codec.reader(SOURCE)
    places = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    pieces = [piece for begin, end in pairwise(places) for piece in reader.feed(data[begin:end])]
    reader.end()
    return pieces


@pytest.mark.parametrize(
    ("codec", "data"), [(OPENAI, OPENAI_STREAM), (OLLAMA, OLLAMA_STREAM)], ids=["openai", "ollama"]
)
@given(cuts=st.lists(st.integers(0, 1200), max_size=40))
def test_any_chunking_gives_the_same_pieces(codec: Codec, data: bytes, cuts: list[int]) -> None:
    pieces = read(codec, data, cuts)
    assert pieces == read(codec, data, [])
    assert "".join(piece.text for piece in pieces) == "Grüße 🚀"
    assert "".join(piece.thinking for piece in pieces) == "Hm."
    (call,) = [call for piece in pieces for call in piece.tool_calls]
    assert (call.name, json.loads(call.arguments)) == ("look", {"a": 1})
    assert [piece.usage for piece in pieces if piece.usage] == [Usage(3, 4)]
    assert [piece.finish for piece in pieces if piece.finish] == ["tool_calls" if codec is OPENAI else "stop"]


@pytest.mark.parametrize(
    ("codec", "data"), [(OPENAI, OPENAI_STREAM), (OLLAMA, OLLAMA_STREAM)], ids=["openai", "ollama"]
)
@given(length=st.integers(0, 1200))
def test_a_stream_cut_anywhere_is_not_complete(codec: Codec, data: bytes, length: int) -> None:
    """Never a truncated answer that looks complete: only what holds the finish ends well."""
    cut = data[:length]
    finished = b'"finish_reason": "tool_calls"' if codec is OPENAI else b'"done": true'
    whole = finished in cut and (b"\n" in cut.partition(finished)[2])
    if whole:
        read(codec, cut, [])
    else:
        with pytest.raises(BrokenAnswer):
            read(codec, cut, [])


@pytest.mark.parametrize("codec", [OPENAI, OLLAMA], ids=["openai", "ollama"])
@given(body=st.one_of(st.binary(max_size=80), st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["choices", "message", "content", "error", "done", "delta", "x"]), inner, max_size=4),
    max_leaves=12,
).map(lambda value: json.dumps(value).encode())))  # fmt: skip
def test_whatever_comes_is_an_answer_or_an_error_of_ours(codec: Codec, body: bytes) -> None:
    """S1.35: no body of any shape gets past the check or breaks it."""
    try:
        answer = codec.whole(body, SOURCE)
    except PenstockError:
        pass
    else:
        assert isinstance(answer.text, str)
    reader = codec.reader(SOURCE)
    try:
        for piece in reader.feed(b"data: " + body + b"\n\n" if codec is OPENAI else body + b"\n"):
            assert isinstance(piece.text, str)
        reader.end()
    except PenstockError:
        pass
    assert isinstance(codec.error(body), str)


def test_errors_inside_a_stream() -> None:
    with pytest.raises(EngineRefused, match="broke off with an error: no memory"):
        read(OPENAI, events(chunk({"content": "a"}), {"error": {"message": "no memory", "code": 500}}), [])
    with pytest.raises(EngineRefused, match="broke off with an error: no memory"):
        read(OLLAMA, lines({"error": "no memory"}), [])


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b'{"error": {"message": "a"}}', "a"),
        (b'{"error": "a"}', "a"),
        (b'{"message": "a", "object": "error"}', "a"),
        (b'{"detail": "a"}', "a"),
        (b"<html>", "<html>"),
        (b"", ""),
    ],
)
def test_the_sentence_of_an_error(body: bytes, sentence: str) -> None:
    assert OPENAI.error(body) == sentence


def test_a_conversation_with_tools_and_images_in_both_protocols() -> None:
    png = "iVBORw0KGgo="
    ask = Ask(
        system="brief",
        messages=(
            Message("user", "look", images=(png,)),
            Message("assistant", tool_calls=(ToolCall("look", '{"a": 1}', "c1"),)),
            Message("tool", "seen", tool_call_id="c1", name="look"),
        ),
    )
    body = json.loads(OPENAI.request(ask, Kind.VLLM, "m", stream=True).body)
    assert [turn["role"] for turn in body["messages"]] == ["system", "user", "assistant", "tool"]
    assert body["messages"][1]["content"][1]["image_url"]["url"] == f"data:image/png;base64,{png}"
    assert body["messages"][2]["tool_calls"][0]["function"] == {"name": "look", "arguments": '{"a": 1}'}
    assert (body["stream"], body["stream_options"]) == (True, {"include_usage": True})
    body = json.loads(OLLAMA.request(ask, Kind.OLLAMA, "m", stream=True).body)
    assert body["messages"][1]["images"] == [png]
    assert body["messages"][2]["tool_calls"] == [{"id": "c1", "function": {"name": "look", "arguments": {"a": 1}}}]
    assert (body["messages"][3]["tool_name"], body["messages"][3]["tool_call_id"]) == ("look", "c1")


def test_what_ollama_cannot_take_is_told() -> None:
    with pytest.raises(BadRequest, match="base64 only"):
        OLLAMA.request(Ask(messages=(Message("user", images=("https://x/y.png",)),)), Kind.OLLAMA, "m", stream=False)
    turn = Message("assistant", tool_calls=(ToolCall("look", "{no"),))
    with pytest.raises(BadRequest, match="'look' are no JSON"):
        OLLAMA.request(Ask(messages=(turn,)), Kind.OLLAMA, "m", stream=False)


@pytest.mark.parametrize("reason", ["abort", "error"])
def test_an_answer_that_the_engine_gave_up_is_none(reason: str) -> None:
    """vLLM ends it as properly as any other."""
    with pytest.raises(BrokenAnswer, match="gave the answer up"):
        OPENAI.reader(SOURCE).feed(events(chunk({"content": "half"}), chunk({}, reason)))
    body = {"choices": [{"index": 0, "message": {"content": "half"}, "finish_reason": reason}]}
    with pytest.raises(BrokenAnswer, match="gave the answer up"):
        OPENAI.whole(json.dumps(body).encode(), SOURCE)


def test_an_error_in_an_odd_shape_is_one() -> None:
    for odd in ({"choices": [], "message": "it died"}, {"object": "error", "message": "it died"}):
        with pytest.raises((EngineRefused, BrokenAnswer)):
            OPENAI.reader(SOURCE).feed(events(chunk({"content": "half"}), odd))


def test_nothing_behind_the_end_matters() -> None:
    reader = OPENAI.reader(SOURCE)
    reader.feed(events(chunk({"content": "all"}), chunk({}, "stop")))
    assert reader.feed(b"rubbish\n\n") == []
    reader.end()
