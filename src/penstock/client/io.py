"""How a call reaches the network, seen from the call: three verbs, the same for threads and for event loops.

The verbs are coroutines in both. `transport_blocking.py` never suspends in them, so that `finished` can drive a call
to its end without an event loop; `transport_async.py` is real async. So the order of attempts, retries and fallbacks
exists once (`engines.py`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping
from typing import Any, NamedTuple, Protocol, TypeVar

import httpcore2

T = TypeVar("T")

BODY_LIMIT = 64 * 1024 * 1024
"""Bytes of a whole answer; past it the engine is at fault rather than our memory."""


class Limits(NamedTuple):
    """How long the parts of one attempt may take."""

    connect: float
    """Seconds."""
    silence: float
    """Seconds between two reads of a stream that has begun."""
    until: float
    """Monotonic seconds at which a whole answer, or the begin of a stream, must be there."""


class Request(NamedTuple):
    """One HTTP request."""

    method: bytes
    url: httpcore2.URL
    headers: list[tuple[bytes, bytes]]
    body: bytes = b""


class Reply(NamedTuple):
    """One HTTP response, whole."""

    status: int
    headers: Mapping[bytes, bytes]
    """Names in lower case."""
    body: bytes


class Opened(Protocol):
    """A response whose head has arrived."""

    status: int
    headers: Mapping[bytes, bytes]

    async def read(self) -> bytes:
        """More of the body; empty at its end."""
        ...

    def begun(self) -> None:
        """Content has arrived: from here each read has `silence` seconds instead of what `until` leaves."""
        ...

    async def close(self) -> None:
        """Give the connection back if the body was read to its end; else close it, so that the engine stops."""
        ...


class Io(Protocol):
    """Raises ConnectFailed, ConnectionDied, TookTooLong and BrokenAnswer, and nothing of any library's own."""

    async def send(self, request: Request, limits: Limits) -> Reply: ...

    async def open(self, request: Request, limits: Limits) -> Opened: ...

    async def sleep(self, seconds: float) -> None: ...


def finished(call: Coroutine[Any, Any, T]) -> T:
    """The result of a call over a blocking Io, which never suspends."""
    try:
        call.send(None)
    except StopIteration as end:
        value: T = end.value
        return value
    call.close()
    raise RuntimeError("a blocking call tried to wait on an event loop; please report this")


def pumped(pieces: AsyncIterator[T]) -> Iterator[T]:
    """The items of an async generator over a blocking Io."""
    try:
        while True:
            try:
                yield finished(anext_of(pieces))
            except StopAsyncIteration:
                return
    finally:
        close = getattr(pieces, "aclose", None)
        if close is not None:
            finished(close())


async def anext_of(pieces: AsyncIterator[T]) -> T:
    return await anext(pieces)
