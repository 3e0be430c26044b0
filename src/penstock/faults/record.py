"""What a scripted engine saw, and the places where a test can hold it.

Tests wait on what happened (`seen`, `aborted`, `Gate.reached`), never on time: an engine held before token k cannot write
it, so an abort that arrives while it is held arrived before that token.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

import msgspec

_KEPT = 10_000
WAIT = 10.0
"""Seconds any wait of a test may last before it fails."""


class Received(msgspec.Struct, frozen=True, kw_only=True):
    """One request as it stood on the wire."""

    number: int
    """Counts every request of this engine from 0."""
    connection: int
    """Which connection it came on, counted from 0."""
    method: str
    target: str
    """Path and query as sent."""
    version: str
    headers: tuple[tuple[str, str], ...]
    """Names in lower case, in order, with repetitions."""
    body: bytes
    at: int
    """Monotonic nanoseconds when its last byte arrived."""

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def closes(self) -> bool:
        """Whether the client wants the connection closed after the answer."""
        return (self.header("connection") or "").lower() == "close"

    def header(self, name: str) -> str | None:
        """First value of a header, by its lower-case name."""
        return next((value for key, value in self.headers if key == name), None)


class Abort(msgspec.Struct, frozen=True, kw_only=True):
    """A client that left before its answer was complete."""

    request: Received
    at: int
    """Monotonic nanoseconds when the engine learnt of it."""
    tokens: int
    """How many tokens had been produced by then."""


class Gate:
    """A place before token `before` of an answer where the engine waits until the test lets it go on."""

    def __init__(self, before: int) -> None:
        self.before = before
        self._reached = asyncio.Event()
        self._open = asyncio.Event()

    async def reached(self, timeout: float = WAIT) -> None:
        """Wait until an answer stands at this gate."""
        async with asyncio.timeout(timeout):
            await self._reached.wait()

    def open(self) -> None:
        """Let every answer through, now and later."""
        self._open.set()

    async def pass_through(self) -> None:
        """Called by the engine that stands here."""
        self._reached.set()
        await self._open.wait()


class Journal:
    """Everything one engine saw, bounded, with waits that end by themselves."""

    def __init__(self) -> None:
        self.requests: deque[Received] = deque(maxlen=_KEPT)
        """Requests that ask a model."""
        self.probes: deque[Received] = deque(maxlen=_KEPT)
        """All others: health, models, metrics."""
        self.aborts: deque[Abort] = deque(maxlen=_KEPT)
        self.answered = 0
        """Model requests whose answer was written to its end."""
        self.running = 0
        self.connections = 0
        self.gates: list[Gate] = []
        self._changed = asyncio.Event()

    def asked(self, request: Received) -> None:
        self.requests.append(request)
        self.running += 1
        self._wake()

    def probed(self, request: Received) -> None:
        self.probes.append(request)
        self._wake()

    def ended(self, *, complete: bool) -> None:
        self.running -= 1
        self.answered += complete
        self._wake()

    def left(self, request: Received, tokens: int) -> None:
        self.aborts.append(Abort(request=request, at=time.monotonic_ns(), tokens=tokens))
        self._wake()

    def hold(self, before: int) -> Gate:
        """Make every answer wait before its token `before` (0 = the prefill)."""
        gate = Gate(before)
        self.gates.append(gate)
        return gate

    async def before_token(self, number: int) -> None:
        """The engine is about to produce token `number`."""
        for gate in self.gates:
            if gate.before == number:
                await gate.pass_through()

    async def seen(self, count: int, timeout: float = WAIT) -> Received:
        """Wait until `count` model requests have arrived; the last of them."""
        await self.until(lambda: len(self.requests) >= count, f"{count} requests", timeout)
        return self.requests[count - 1]

    async def aborted(self, count: int = 1, timeout: float = WAIT) -> Abort:
        """Wait until `count` clients have left; the last of them."""
        await self.until(lambda: len(self.aborts) >= count, f"{count} aborts", timeout)
        return self.aborts[count - 1]

    async def until(self, ready: Callable[[], bool], what: str, timeout: float = WAIT) -> None:
        """Wait until `ready()`; it is asked again whenever something happened here."""
        try:
            async with asyncio.timeout(timeout):
                while not ready():
                    await self._changed.wait()
        except TimeoutError:
            seen = [f"{request.method} {request.target}" for request in self.requests]
            raise AssertionError(
                f"waited {timeout:g} s for {what}; saw requests {seen} and {len(self.aborts)} aborts"
            ) from None

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
