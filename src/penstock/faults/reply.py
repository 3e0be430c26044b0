"""An answer in a protocol's bytes, cut into the places where a script can interfere. Pure."""

from __future__ import annotations

import msgspec

from penstock.faults.refused import Refused

JSON = "application/json"
SSE = "text/event-stream; charset=utf-8"
DONE = b"data: [DONE]\n\n"


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """Whole answers have `whole`; streamed ones one event a token, with what comes before and after."""

    tokens: int
    """How many tokens there are, streamed or not."""
    whole: bytes = b""
    whole_type: str = JSON
    stream: bool = False
    stream_type: str = SSE
    opening: tuple[bytes, ...] = ()
    pieces: tuple[bytes, ...] = ()
    closing: tuple[bytes, ...] = ()
    lines: bool = False
    """Newline-delimited JSON instead of server-sent events."""
    malformed: bytes = b'data: {"id": "x", "choices": [{"delta"\n\n'
    """What a broken event looks like in this protocol."""


def failure(reply: Reply, error: Refused) -> tuple[bytes, ...]:
    """The in-band events with which an engine of this protocol gives up."""
    if reply.lines:
        return (line({"error": error.message}),)
    return (data({"error": error.error()}), DONE)


def line(value: object) -> bytes:
    """One line of newline-delimited JSON."""
    return msgspec.json.encode(value) + b"\n"


def data(value: object) -> bytes:
    """One anonymous server-sent event."""
    return b"data: %b\n\n" % msgspec.json.encode(value)


def event(name: str, value: object) -> bytes:
    """One named server-sent event."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), msgspec.json.encode(value))
