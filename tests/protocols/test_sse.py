"""Server-sent events: the same ones whatever the chunking and the line ends."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.protocols.ollama_wire import CUTS, cut

from penstock.errors import BrokenAnswer
from penstock.protocols import sse

TEXT = st.text(st.characters(exclude_characters="\r\n", codec="utf-8"), max_size=10).map(str.strip)
ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])


def payloads(parts: list[bytes]) -> list[bytes]:
    splitter = sse.Splitter()
    found = [sse.payload(event) for part in parts for event in splitter.feed(part)]
    return [one for one in found if one is not None]


@st.composite
def streams(draw: st.DrawFn) -> tuple[bytes, list[bytes]]:
    """A stream whose every line may end in its own way, and the data of its events."""
    wire, wanted = b"", []
    for lines in draw(st.lists(st.lists(TEXT, min_size=1, max_size=3), max_size=5)):
        kind = draw(st.sampled_from(["data", "comment", "named"]))
        head = {"data": [], "comment": [b": keep-alive"], "named": [b"event: x", b"id: 7"]}[kind]
        data = (
            [] if kind == "comment" else [b"data:" + draw(st.sampled_from([b"", b" "])) + one.encode() for one in lines]
        )
        for line in [*head, *data]:
            wire += line + draw(ENDS)
        # A bare CR directly before a LF would be one CRLF: the blank line's own end must not start with it.
        wire += draw(st.sampled_from([b"\r", b"\r\n"]) if wire.endswith(b"\r") else ENDS)
        if kind != "comment":
            wanted.append(b"\n".join(one.encode() for one in lines))
    # A CR that is the last byte may still become a CRLF, so the stream goes on with a comment.
    return wire + b": end\n\n", wanted


@given(streams(), CUTS, st.booleans())
@settings(max_examples=150)
def test_any_chunking_gives_the_same_events(stream: tuple[bytes, list[bytes]], cuts: list[int], bom: bool) -> None:  # noqa: FBT001 - drawn
    wire, wanted = stream
    wire = b"\xef\xbb\xbf" + wire if bom else wire
    assert payloads([wire]) == wanted
    assert payloads(cut(wire, cuts)) == wanted


@pytest.mark.parametrize("first", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("second", [b"\n", b"\r\n", b"\r"])
def test_every_pair_of_line_ends_ends_an_event(first: bytes, second: bytes) -> None:
    if (first, second) == (b"\r", b"\n"):
        second = b"\n\n"  # CR LF is one end
    wire = b"data: a" + first + second + b"data: b\n\n"
    for at in range(len(wire) + 1):
        assert payloads([wire[:at], wire[at:]]) == [b"a", b"b"], at


@given(st.lists(st.binary(max_size=20), max_size=8))
@settings(max_examples=60)
def test_no_byte_is_lost_or_made_up(parts: list[bytes]) -> None:
    splitter = sse.Splitter()
    events = [event for part in parts for event in splitter.feed(part)]
    assert b"".join(events) + splitter.rest == b"".join(parts).removeprefix(b"\xef\xbb\xbf")


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_a_bom_at_the_start_is_dropped(size: int) -> None:
    wire = b"\xef\xbb\xbfdata: a\n\n"
    assert payloads([wire[at : at + size] for at in range(0, len(wire), size)]) == [b"a"]


def test_events_that_come_together_are_told_apart() -> None:
    assert sse.Splitter().feed(b"data: a\n\n: ping\n\ndata: b\n\n") == [b"data: a\n\n", b": ping\n\n", b"data: b\n\n"]


def test_an_event_without_end_is_bounded() -> None:
    splitter = sse.Splitter()
    piece = b"x" * (sse.LIMIT // 2)
    assert splitter.feed(b"data: " + piece) == []
    with pytest.raises(BrokenAnswer, match="passed"):
        splitter.feed(piece)


def test_a_large_event_within_the_bound_is_whole() -> None:
    data = b"x" * (sse.LIMIT - 100)
    assert payloads([b"data: ", data, b"\n", b"\n"]) == [data]


@pytest.mark.parametrize(
    ("event", "data"),
    [
        (b"data: a\n\n", b"a"),
        (b"data:a\n\n", b"a"),
        (b"data:  a\n\n", b" a"),
        (b"data\n\n", b""),
        (b"data: a\ndata: b\n\n", b"a\nb"),
        (b"event: x\r\ndata: a\r\n\r\n", b"a"),
        (b"data: a\rdata: b\r\r", b"a\nb"),
        (b"data: a\nid: 1\n\n", b"a"),
        (b": comment\n\n", None),
        (b"event: ping\n\n", None),
        (b"database: x\n\n", None),
        (b"x-more: y\n\n", None),
        (b": \x00 \xc3\xbc\n\n", None),
    ],
)
def test_payload(event: bytes, data: bytes | None) -> None:
    assert sse.payload(event) == data


@pytest.mark.parametrize(
    "line",
    [
        b" data: x",
        b"\x00data: {}",
        b"\x00",
        b'{"error": "no route"}',
        b"<html>",
        b"Internal Server Error",
        b"\xffdata: x",
    ],
)
@pytest.mark.parametrize("beside", [b"", b"data: x\n"])
def test_a_line_that_is_no_field_is_a_fault(line: bytes, beside: bytes) -> None:
    """What it meant to say would be lost without a trace, and the answer look whole all the same."""
    with pytest.raises(BrokenAnswer, match=r"no field|not UTF-8"):
        sse.payload(beside + line + b"\n\n")


@pytest.mark.parametrize("event", [b": \xff\n\n", b"event: \xe2\x82\ndata: {}\n\n", b"data: a\ndata: \xf0\x9f\n\n"])
def test_bytes_that_are_no_text_are_a_fault(event: bytes) -> None:
    """Also in a comment: the official client decodes every line before it looks what it is."""
    with pytest.raises(BrokenAnswer, match="UTF-8"):
        sse.payload(event)


def test_the_end_of_the_body_completes_an_event_that_ends_in_a_bare_cr() -> None:
    splitter = sse.Splitter()
    assert splitter.feed(b"data: a\r\rdata: b\r\r") == [b"data: a\r\r"]
    assert splitter.last() == [b"data: b\r\r"]
    assert splitter.last() == []
    splitter.feed(b"data: c\r")
    assert splitter.last() == []


def test_every_byte_is_looked_at_once() -> None:
    """A line of megabytes that comes in small pieces: had each piece all before it joined and searched, this took hours."""
    splitter = sse.Splitter()
    splitter.feed(b"data: ")
    for _ in range(sse.LIMIT // 64 - 1):
        assert splitter.feed(b"x" * 64) == []
    [event] = splitter.feed(b"\n\n")
    assert len(event) > sse.LIMIT - 64


@given(TEXT, st.sampled_from(["", "error"]))
@settings(max_examples=30)
def test_what_we_write_we_can_read(text: str, name: str) -> None:
    event = sse.event(text.encode(), name)
    assert payloads([event]) == [text.encode()]
    assert event.startswith(b"event: error\n") is bool(name)


def test_blank_lines_are_cut_alike_however_they_come() -> None:
    data = b"data: 1\n\n\n\n\ndata: 2\n\n\n"
    whole, bytewise = sse.Splitter(), sse.Splitter()
    assert whole.feed(data) == [event for at in range(len(data)) for event in bytewise.feed(data[at : at + 1])]
    assert whole.rest == bytewise.rest
