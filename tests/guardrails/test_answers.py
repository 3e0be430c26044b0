"""Answers of every protocol: whatever pieces a text comes in, clients read what the whole becomes, and JSON's escapes hide nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.config_guardrails import Guardrails, Links, Redact, Topics
from penstock.errors import Withheld
from penstock.guardrails.answers import Answer
from penstock.guardrails.rules import Rules
from penstock.guardrails.said import Said
from penstock.guardrails.table import ANSWERS
from penstock.guardrails.text import Verdicts

GIVEN = Guardrails(
    redact=Redact(find=("email", "api_key", "private_key", "card", "phone", "iban", "us_ssn")),
    links=Links(hosts=("good.example",)),
    topics=Topics(patterns={"plan": r"(?i)\bplan nine\b"}),
    tools=("f",),
)


def none(path: str) -> bytes:
    raise OSError(path)


RULES = Rules(GIVEN, none)


def answer(path: str) -> Answer:
    return ANSWERS[path](Said(RULES, Verdicts()))


def sse(events: list[dict[str, Any]], escape: bool) -> list[bytes]:  # noqa: FBT001 - drawn
    return [b"data: " + spelled(one, escape=escape) + b"\n\n" for one in events]


def spelled(value: object, *, escape: bool) -> bytes:
    """As JSON; with every letter of its texts in an escape, which says the same."""
    if not escape:
        return json.dumps(value, ensure_ascii=False).encode()

    def text(one: Any) -> str:  # noqa: ANN401 - any JSON
        if isinstance(one, str):
            units = one.encode("utf-16-be")
            return '"' + "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2)) + '"'
        if isinstance(one, dict):
            return "{" + ",".join(f"{json.dumps(name)}:{text(inner)}" for name, inner in one.items()) + "}"
        return "[" + ",".join(map(text, one)) + "]" if isinstance(one, list) else json.dumps(one)

    return text(value).encode()


def chat(pieces: list[str], escape: bool) -> list[bytes]:  # noqa: FBT001
    events: list[dict[str, Any]] = [{"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}]
    events += [{"choices": [{"index": 0, "delta": {"content": one}, "finish_reason": None}]} for one in pieces]
    events.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    return [*sse(events, escape), b"data: [DONE]\n\n"]


def completions(pieces: list[str], escape: bool) -> list[bytes]:  # noqa: FBT001
    events: list[dict[str, Any]] = [{"choices": [{"index": 0, "text": one, "finish_reason": None}]} for one in pieces]
    return sse([*events, {"choices": [{"index": 0, "text": "", "finish_reason": "stop"}]}], escape)


def messages(pieces: list[str], escape: bool) -> list[bytes]:  # noqa: FBT001
    block = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    deltas = [
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": one}} for one in pieces
    ]
    return sse([block, *deltas, {"type": "content_block_stop", "index": 0}, {"type": "message_stop"}], escape)


def responses(pieces: list[str], escape: bool) -> list[bytes]:  # noqa: FBT001
    place = {"item_id": "i", "output_index": 0, "content_index": 0}
    part = {"type": "output_text", "text": "".join(pieces)}
    item = {"type": "message", "id": "i", "role": "assistant", "content": [part]}
    events: list[dict[str, Any]] = [{"type": "response.created", "response": {"object": "response", "output": []}}]
    events += [{"type": "response.output_text.delta", **place, "delta": one} for one in pieces]
    events += [
        {"type": "response.output_text.done", **place, "text": part["text"]},
        {"type": "response.content_part.done", **place, "part": part},
        {"type": "response.output_item.done", "item": item},
        {"type": "response.completed", "response": {"object": "response", "status": "completed", "output": [item]}},
    ]
    return sse(events, escape)


def lines(pieces: list[str], escape: bool) -> list[bytes]:  # noqa: FBT001
    found = [{"message": {"role": "assistant", "content": one}, "done": False} for one in pieces]
    last = {"message": {"role": "assistant", "content": ""}, "done": True}
    return [spelled(one, escape=escape) + b"\n" for one in [*found, last]]


def generated(pieces: list[str], escape: bool) -> list[bytes]:  # noqa: FBT001
    return [spelled(one, escape=escape) + b"\n" for one in [*({"response": one, "done": False} for one in pieces), {"response": "", "done": True}]]  # fmt: skip


STREAMS: dict[str, Callable[[list[str], bool], list[bytes]]] = {
    "/v1/chat/completions": chat,
    "/v1/completions": completions,
    "/v1/messages": messages,
    "/v1/responses": responses,
    "/api/chat": lines,
    "/api/generate": generated,
}


def heard(data: bytes) -> list[str]:  # noqa: C901 - six protocols
    """Every way in which a stream says its text: joined from its pieces, and where it says all of it at once."""
    pieces, wholes = "", []
    for line in data.splitlines():
        text = line.removeprefix(b"data: ")
        if not text.startswith(b"{"):
            continue
        one = json.loads(text)
        kind = one.get("type", "")
        if kind == "response.output_text.done":
            wholes.append(one["text"])
        elif kind == "response.content_part.done":
            wholes.append(one["part"]["text"])
        elif kind == "response.output_item.done":
            wholes.append(one["item"]["content"][0]["text"])
        elif kind == "response.completed":
            wholes.append(one["response"]["output"][0]["content"][0]["text"])
        elif kind == "response.output_text.delta":
            pieces += one["delta"]
        elif kind == "content_block_delta":
            pieces += one["delta"]["text"]
        elif "choices" in one:
            pieces += "".join(c.get("text") or (c.get("delta") or {}).get("content") or "" for c in one["choices"])
        elif not kind:
            pieces += one.get("response") or (one.get("message") or {}).get("content") or ""
    return [pieces, *wholes]


def through(path: str, events: list[bytes]) -> bytes:
    one = answer(path)
    return b"".join(map(one.piece, events))


PARTS = [
    "![x](", "https:", "//", "evil.example/", "?q=", "good.example", ")", " ", "jane", "@corp", ".example", "4111 1111 ", "1111 1111", "sk-abcdefgh",
    "ijklmnopqrst", "é", "\n", "\\", '"', "&#4", "7;", "<img src=", "078-05-", "1120", "plan eight", "//host.example", "-----BEGIN PRIVATE KEY-----", "www.",
]  # fmt: skip


@pytest.mark.parametrize("path", STREAMS)
@settings(max_examples=60)
@given(pieces=st.lists(st.sampled_from(PARTS), min_size=1, max_size=12), escape=st.booleans())
def test_any_pieces_say_what_the_whole_says(path: str, pieces: list[str], *, escape: bool) -> None:
    """S4.25, on the wire: in pieces, whole, and spelled in escapes."""
    text = "".join(pieces)
    expected = Said(RULES, Verdicts()).whole(text, answer=True)
    for cut in (pieces, list(text), [text]):
        said = heard(through(path, STREAMS[path](cut, escape)))
        assert said == [expected] * len(said)


@pytest.mark.parametrize("path", STREAMS)
def test_what_must_not_be_said_ends_the_stream_after_what_came_before(path: str) -> None:
    one = answer(path)
    events = STREAMS[path](["Our ", "pl", "an ni", "ne is", " secret"], False)  # noqa: FBT003 - as hypothesis draws it
    given: list[bytes] = []
    with pytest.raises(Withheld, match="topic plan"):
        given.extend(map(one.piece, events))
    said = b"".join([*given, one.given])
    assert heard(said)[0] == "Our "
    assert b"nine" not in said


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/api/chat"])
def test_what_says_it_twice_is_left_out(path: str) -> None:
    """Log probabilities, ids of tokens, and whatever else an engine adds."""
    secret = {"token": "jane@corp.example", "logprob": 0.0, "bytes": [1, 2]}
    choice = {"index": 0, "finish_reason": "stop", "logprobs": {"content": [secret]}, "token_ids": [1, 2], "stop_reason": "jane@corp.example"}  # fmt: skip
    turn = {"role": "assistant", "content": "hi", "odd": {"note": "jane@corp.example", "numbers": [1, 2]}}
    found: dict[str, Any] = (
        {"choices": [{**choice, "message": turn}], "prompt_token_ids": [3]}
        if path.startswith("/v1")
        else {"message": turn, "done": True, "logprobs": [secret], "context": [1, 2]}
    )
    clean = answer(path).whole(json.dumps(found).encode())
    assert b"jane" not in clean
    assert b"[1,2]" not in clean
    assert b"[3]" not in clean
    assert b"hi" in clean
