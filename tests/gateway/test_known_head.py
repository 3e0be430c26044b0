"""A known head stands for exactly what the parser would say, and for nothing else."""

from __future__ import annotations

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.gateway.known_head import learn

HEAD = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\nAccept: */*\r\n\r\n"


def message(body: bytes) -> bytes:
    return HEAD % len(body) + body


class Parsed:
    """What httptools says of a message."""

    def __init__(self) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = b""
        self.complete = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.complete += 1


def parsed(data: bytes) -> Parsed:
    found = Parsed()
    httptools.HttpRequestParser(found).feed_data(data)
    return found


@given(st.binary(min_size=1, max_size=300), st.binary(max_size=300))
def test_the_next_message_with_the_same_head_is_recognised(first: bytes, second: bytes) -> None:
    known = learn(message(first), len(first), "found")
    assert known is not None
    assert known.found == "found"
    assert known.body(message(second)) == second == parsed(message(second)).body


@given(st.binary(max_size=60), st.data())
def test_any_change_is_left_to_the_parser(body: bytes, data: st.DataObject) -> None:
    """Whatever it takes, the parser takes in the same way; most changes it does not take."""
    known = learn(message(b"body"), 4, None)
    assert known is not None
    whole = bytearray(message(body))
    at = data.draw(st.integers(0, len(whole) - len(body) - 1))
    whole[at] = data.draw(st.integers(0, 255))
    taken = known.body(bytes(whole))
    if taken is not None:
        found = parsed(bytes(whole))
        assert (found.complete, found.body) == (1, taken)


@pytest.mark.parametrize(
    "data",
    [
        message(b"body")[:-1],
        message(b"body") + b"P",
        message(b"body") * 2,
        message(b"body").replace(b": 4", b": +4"),
        message(b"body").replace(b": 4", b": 4 "),
        message(b"body").replace(b": 4", b":  4"),
        message(b"body").replace(b": 4", b": 0x4"),
        message(b"body").replace(b": 4", b": "),
        message(b"body").replace(b": 4", b": 00000000000000000004"),
        b"",
    ],
)
def test_only_one_whole_message_is_taken(data: bytes) -> None:
    known = learn(message(b"other"), 5, None)
    assert known is not None
    assert known.body(data) is None


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n", 4),
        (b"POST / HTTP/1.1\r\ncontent-length: 4\r\ncontent-length: 4\r\n\r\nbody", 4),
        (b"POST / HTTP/1.1\r\ncontent-length: 4\r\nexpect: 100-continue\r\n\r\nbody", 4),
        (b"POST / HTTP/1.1\r\ncontent-length: 4\r\nupgrade: websocket\r\n\r\nbody", 4),
        (b"POST / HTTP/1.1\ncontent-length: 4\n\nbody", 4),
        (message(b"body") * 2, 4),
        (b"\r\n\r\n" + message(b"body"), 4),
        (message(b"body"), 3),
    ],
)
def test_what_is_not_one_plain_message_is_not_learnt(data: bytes, size: int) -> None:
    assert learn(data, size, None) is None
