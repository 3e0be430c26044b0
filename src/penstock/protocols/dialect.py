"""The contract between the line and the codecs: what a request says, and how its answer is read.

Codecs do no I/O and read no clock but the one they are given: bytes in, bytes out, and any chunking of the input gives
the same result. A `Pairing` joins one face (what the client speaks) to one wire (what the backend speaks) for one
operation; `protocols.table` names them all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec

from penstock.errors import PenstockError
from penstock.types import Face, Kind, Operation, Usage

Clock = Callable[[], int]
"""Monotonic nanoseconds."""


class Call(msgspec.Struct, frozen=True, gc=False):
    """What the gateway needs to know of a request, decoded once from its body."""

    operation: Operation
    face: Face
    path: str
    """The client's path without query, e.g. `/v1/chat/completions`."""
    body: bytes
    content_type: str
    model: str
    """The alias asked for, as the client spelled it."""
    stream: bool
    session: str | None = None
    """Conversation id found in the body (`user`, `session_id`), for affinity."""
    usage_asked: bool = False
    """OpenAI streams: the client itself asked for `stream_options.include_usage`."""
    previous: str | None = None
    """`/v1/responses`: the answer this one continues; only the backend that made it knows it."""
    idle: str | None = None
    """Ollama's `load` / `unload` idiom: nothing is generated."""
    choices: int = 1
    """How many answers are asked for at once; 0 where only the engine can count them."""


class Destination(msgspec.Struct, frozen=True, kw_only=True):
    """Who a request is written for."""

    kind: Kind
    model: str
    """The name the backend knows the model by."""
    window: int | None = None
    """Context length in tokens, where the backend told us."""
    ollama_defaults: bool = True
    """Ollama face: send Ollama's own sampling defaults where the client gave none."""


class Outgoing(msgspec.Struct, frozen=True, gc=False):
    """A request as it goes to a backend."""

    path: str
    body: bytes
    content_type: str = "application/json"
    dropped: tuple[str, ...] = ()
    """Options the client asked for that this backend cannot honour; named in a header and counted."""


class Timing(msgspec.Struct, gc=False):
    """Monotonic nanoseconds of one request, filled in by the line; 0 where it has not happened."""

    arrived: int = 0
    sent: int = 0
    first: int = 0
    last: int = 0


class Reader(Protocol):
    """One answer on its way from an engine to a client.

    Streamed answers: `feed` returns what may be forwarded now, only ever whole events. Whole answers: `feed` collects
    (bounded) and returns b"", `close` returns the body.
    """

    content_type: str
    """Content type of the answer the client gets."""

    @property
    def usage(self) -> Usage | None:
        """As far as the engine told it."""
        ...

    @property
    def model(self) -> str | None:
        """The model the engine says it answered with."""
        ...

    @property
    def content(self) -> bool:
        """Something of the answer itself (text, reasoning, a tool call, the finish) has been seen: from here on no fallback."""
        ...

    @property
    def finished(self) -> bool:
        """The engine said that the answer is complete."""
        ...

    @property
    def finish_reason(self) -> str | None:
        """Why it ended."""
        ...

    def feed(self, data: bytes) -> bytes:
        """Take body bytes; raise `BrokenAnswer` or `EngineRefused` for a malformed or in-band error event."""
        ...

    def close(self) -> bytes:
        """The engine ended the body cleanly: last bytes for the client; raise `BrokenAnswer` if it was not finished."""
        ...

    def fault(self, error: PenstockError) -> bytes:
        """The bytes that end a begun stream in an explicit error of the client's protocol."""
        ...


class Pairing(Protocol):
    """One face joined to one wire for one operation."""

    def request(self, call: Call, to: Destination) -> Outgoing:
        """Write the request for one backend; raise `BadRequest` or `Unsupported` where it cannot be said there."""
        ...

    def reader(self, call: Call, to: Destination, timing: Timing, clock: Clock) -> Reader:
        """A fresh reader for the answer to `request`."""
        ...


class Idler(Protocol):
    """Who answers Ollama's `load` and `unload` idioms where the wire has no such thing."""

    def idle(self, call: Call, to: Destination) -> bytes:
        """The whole answer; only called when `call.idle`."""
        ...
