"""A known event is passed exactly as its decoding would have it passed, and nothing else is."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import BrokenAnswer, EngineRefused
from penstock.protocols.dialect import Call, Timing
from penstock.protocols.known_event import learn
from penstock.protocols.openai_stream import ChatStream
from penstock.types import Face, Operation


def event(text: str, **more: object) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    return b"data: " + json.dumps({"id": "c-1", "model": "m", "choices": [choice], **more}).encode() + b"\n\n"


def stream(*, usage_asked: bool = False) -> ChatStream:
    call = Call(Operation.CHAT, Face.OPENAI, "/v1/chat/completions", b"", "", "m", stream=True, usage_asked=usage_asked)
    ticks = iter(range(1, 10_000))
    return ChatStream(call, Timing(), lambda: next(ticks))


@given(st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=12), st.booleans(), st.booleans())
def test_a_stream_is_the_same_whether_its_events_are_known_or_not(
    texts: list[str],
    usage_null: bool,  # noqa: FBT001 - drawn
    usage_asked: bool,  # noqa: FBT001 - drawn
) -> None:
    """Fed one by one, where events become known, and each to a reader of its own, where none is."""
    more = {"usage": None} if usage_null else {}
    one = stream(usage_asked=usage_asked)
    for number, text in enumerate(texts):
        data = event(text, **more)
        assert one.feed(data) == stream(usage_asked=usage_asked).feed(data)
        assert one.content
        assert one._timing.last == number + 1


@pytest.mark.parametrize(
    "data",
    [
        event("x", error={"message": "no"}),
        event('x"}}],"error":{"message":"no"},"more":[{"a":{"b":"c'),
        event("x").replace(b'"x"', b'"x"}}],"error":{"message":"no"},"more":[{"a":{"b":"c"'),
    ],
)
def test_an_error_is_never_taken_for_text(data: bytes) -> None:
    one = stream()
    one.feed(event("hello"))
    decoded = json.loads(data[6:])
    if "error" in decoded:
        with pytest.raises(EngineRefused):
            one.feed(data)
    else:
        assert one.feed(data) == data


@pytest.mark.parametrize("bad", [b"\x00", b"\x1f", b"\xff", b"\xc3\x28", b"\\x"])
def test_what_is_no_json_string_is_still_found(bad: bytes) -> None:
    one = stream()
    one.feed(event("hello"))
    with pytest.raises(BrokenAnswer):
        one.feed(event("hello").replace(b"hello", b"he" + bad + b"o"))


def test_a_finish_behind_known_events_ends_the_stream() -> None:
    one = stream()
    for text in ("a", "b", "c"):
        one.feed(event(text))
    last = event("d").replace(b'"finish_reason": null', b'"finish_reason": "stop"')
    assert one.feed(last) == last
    assert one.finish_reason == "stop"
    assert one.finished


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (event("a\nb"), "a\nb"),
        (event('"'), '"'),
        (event("stop", other="stop"), "stop"),
        (b'data: {"other":"x"}\n\n', "x"),
        (event("x", other="\\u0041"), "x"),
    ],
)
def test_what_could_mean_something_else_is_not_learnt(data: bytes, text: str) -> None:
    assert learn(data, data, text) is None
