"""What an answer says: the same, streamed or whole, OpenAI's way or Ollama's."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import BrokenAnswer
from penstock.protocols.heard import Heard, hear

EMPTY: dict[str, Any] = {"text": "", "input": {}, "thinking": ""}
PIECES = st.lists(st.text(max_size=6), min_size=1, max_size=6)
CALLS = st.lists(st.tuples(st.sampled_from(["find", "time"]), st.sampled_from(["{}", '{"q":"é"}'])), max_size=3)


def sse(*chunks: dict[str, Any]) -> bytes:
    return b"".join(f"data: {json.dumps(chunk)}\n\n".encode() for chunk in chunks) + b"data: [DONE]\n\n"


def lines(*objects: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(one).encode() + b"\n" for one in objects)


def delta(said: dict[str, Any], finish: str | None = None, index: int = 0) -> dict[str, Any]:
    return {"choices": [{"index": index, "delta": said, "finish_reason": finish}]}


@given(PIECES, CALLS)
def test_a_chat_is_heard_the_same_in_every_form(pieces: list[str], calls: list[tuple[str, str]]) -> None:
    text = "".join(pieces)
    spoken = [{"type": "function", "function": {"name": name, "arguments": given}} for name, given in calls]
    whole = {"choices": [{"message": {"content": text, "tool_calls": spoken or None}, "finish_reason": "stop"}]}
    begun = [delta({"role": "assistant", "content": ""}), *(delta({"content": piece}) for piece in pieces)]
    for place, (name, given_) in enumerate(calls):
        begun.append(delta({"tool_calls": [{"index": place, "id": "x", "function": {"name": name, "arguments": ""}}]}))
        begun += [delta({"tool_calls": [{"index": place, "function": {"arguments": part}}]}) for part in given_]
    streamed = sse(*begun, delta({}, "stop"), {"choices": [], "usage": {"prompt_tokens": 1}})
    expected = Heard(text=text, calls=tuple(calls), finish="stop")
    assert hear("/v1/chat/completions", json.dumps(whole).encode(), stream=False) == expected
    assert hear("/v1/chat/completions", streamed, stream=True) == expected

    told = [{"function": {"name": name, "arguments": json.loads(given_)}} for name, given_ in calls]
    last = {"message": {"content": "", "tool_calls": told}, "done": True, "done_reason": "stop"}
    ollama = hear("/api/chat", lines(*({"message": {"content": piece}} for piece in pieces), last), stream=True)
    assert (ollama.text, ollama.finish) == (text, "stop")
    assert [(name, json.loads(given_)) for name, given_ in ollama.calls] == [
        (name, json.loads(given_)) for name, given_ in calls
    ]
    whole_ollama = {**last, "message": {"content": text, "tool_calls": told}}
    assert hear("/api/chat", json.dumps(whole_ollama).encode(), stream=False) == ollama


@given(PIECES)
def test_completions_and_generate(pieces: list[str]) -> None:
    text = "".join(pieces)
    expected = Heard(text=text, finish="length")
    chunks = [{"choices": [{"text": piece}]} for piece in pieces]
    end = {"choices": [{"text": "", "finish_reason": "length"}]}
    assert hear("/v1/completions", sse(*chunks, end), stream=True) == expected
    whole = {"choices": [{"text": text, "finish_reason": "length"}]}
    assert hear("/v1/completions", json.dumps(whole).encode(), stream=False) == expected
    told = lines(*({"response": piece} for piece in pieces), {"response": "", "done_reason": "length"})
    assert hear("/api/generate", told, stream=True) == expected
    assert hear("/api/generate", told.removesuffix(b"\n"), stream=True) == expected


def anthropic(type_: str, **fields: Any) -> bytes:  # noqa: ANN401 - fields of JSON
    return f"event: {type_}\ndata: {json.dumps({'type': type_, **fields})}\n\n".encode()


@given(PIECES, CALLS)
def test_messages_are_heard_the_same_in_both_forms(pieces: list[str], calls: list[tuple[str, str]]) -> None:
    text = "".join(pieces)
    blocks: list[dict[str, Any]] = [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": text}]
    blocks += [{"type": "tool_use", "id": "t", "name": name, "input": json.loads(given_)} for name, given_ in calls]
    body = json.dumps({"type": "message", "content": blocks, "stop_reason": "end_turn"}).encode()
    whole = hear("/v1/messages", body, stream=False)
    assert (whole.text, whole.finish, len(whole.calls)) == (text, "end_turn", len(calls))

    events = [anthropic("message_start", message={"id": "m", "content": []})]
    for index, block in enumerate(blocks):
        empty = {**block, **{key: value for key, value in EMPTY.items() if key in block}}
        events.append(anthropic("content_block_start", index=index, content_block=empty))
        parts = [{"type": "thinking_delta", "thinking": "hm"}]
        if block["type"] == "text":
            parts = [{"type": "text_delta", "text": piece} for piece in pieces]
        elif block["type"] == "tool_use":
            parts = [{"type": "input_json_delta", "partial_json": part} for part in calls[index - 2][1]]
        events += [anthropic("content_block_delta", index=index, delta=part) for part in parts]
        events.append(anthropic("content_block_stop", index=index))
    events += [anthropic("message_delta", delta={"stop_reason": "end_turn"}), anthropic("message_stop")]
    streamed = hear("/v1/messages", b"".join(events), stream=True)
    assert (streamed.text, streamed.finish) == (text, "end_turn")
    assert [(name, json.loads(given_)) for name, given_ in streamed.calls] == [
        (name, json.loads(given_)) for name, given_ in whole.calls
    ]


def test_vectors_in_all_their_forms() -> None:
    numbers = [[0.5, -1.0], [0.25, 2.0]]
    packed = [base64.b64encode(struct.pack("<2f", *one)).decode() for one in numbers]
    expected = Heard(vectors=((0.5, -1.0), (0.25, 2.0)))
    for given_ in (numbers, packed):
        # an engine may list them in any order
        data = [{"index": 1, "embedding": given_[1]}, {"index": 0, "embedding": given_[0]}]
        assert hear("/v1/embeddings", json.dumps({"data": data}).encode(), stream=False) == expected
    assert hear("/api/embed", json.dumps({"embeddings": numbers}).encode(), stream=False) == expected
    assert hear("/api/embeddings", json.dumps({"embedding": [1, 2]}).encode(), stream=False).vectors == ((1.0, 2.0),)


def test_several_choices_stand_in_their_order() -> None:
    streamed = sse(delta({"content": "b"}, "length", 1), delta({"content": "a"}, "stop", 0))
    assert hear("/v1/chat/completions", streamed, stream=True) == Heard(text="a\nb", finish="stop")


def test_thoughts_are_no_answer_and_a_refusal_is_one() -> None:
    said = {"content": None, "reasoning": "hm", "reasoning_content": "hm", "refusal": "No."}
    body = json.dumps({"choices": [{"message": said}]}).encode()
    assert hear("/v1/chat/completions", body, stream=False) == Heard(refusal="No.")
    assert hear("/api/chat", b'{"message": {"content": "a", "thinking": "hm"}}', stream=False) == Heard(text="a")


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"choices": 1}', b"\xff", b'{"data": [{"embedding": "!"}]}'])
def test_what_is_no_answer(body: bytes) -> None:
    path = "/v1/embeddings" if b"data" in body else "/v1/chat/completions"
    with pytest.raises(BrokenAnswer, match="to compare it"):
        hear(path, body, stream=False)
