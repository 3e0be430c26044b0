"""Which requests are traced, and what is kept of one when it is over; reached only where `otel` is configured.

A client that sends a `traceparent` has decided; of all others a share is chosen. What is chosen is put into a bounded queue when
it closes, and a thread (otel/telemetry.py) makes spans of it. Of what is not, engines are told so by a `traceparent` that many
requests share (`Line.untraced`), or they would begin traces of their own. Nothing here formats spans or sends anything.
"""

from __future__ import annotations

import random
import time
from collections import deque
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from penstock.gateway.request import Request

_SAMPLED = frozenset(b"13579bdfBDF")
"""Last digits of a `traceparent` whose flag says that the trace is recorded."""


def traceparent(*, sampled: bool) -> bytes:
    """A new trace, in which one span has begun."""
    return b"00-%032x-%016x-0%d" % (random.getrandbits(128), random.getrandbits(64), sampled)


class Ended(msgspec.Struct, frozen=True, gc=False):
    """One request that is over. Times are nanoseconds since 1970; 0 where it has not happened."""

    trace: bytes
    """The `traceparent` that was sent on."""
    parent: bytes | None
    """The client's own."""
    arrived: int
    sent: int
    first: int
    ended: int
    path: str
    operation: str
    request: bytes
    tenant: str
    alias: str
    backend: str
    kind: str
    host: str
    port: int
    model: str
    stream: bool
    prompt_tokens: int | None
    completion_tokens: int
    finish: str
    status: int
    outcome: str
    error: str
    attempts: int
    queued: float
    fallback: str


class Traces:
    """The choice, and the queue of what was chosen."""

    def __init__(self, share: float, room: int) -> None:
        self._share = share
        self._random = random.random
        self.queue: deque[Ended] = deque()
        self._room = room
        self.dropped = 0
        """Requests for which the queue had no room."""

    def begin(self) -> bytes:
        """The `traceparent` of a request that came without one; empty where it is not chosen."""
        if self._random() >= self._share:
            return b""
        return traceparent(sampled=True)

    def ended(self, request: Request, status: int, outcome: str, error: str) -> None:
        """A request is over; called for every one of them."""
        trace = request.trace
        if trace[-1] not in _SAMPLED:
            return
        if len(self.queue) >= self._room:
            self.dropped += 1
        else:
            self.queue.append(_kept(request, status, outcome, error))


def _kept(request: Request, status: int, outcome: str, error: str) -> Ended:
    timing, attempt, call = request.timing, request.attempt, request.call
    back = time.time_ns() - time.monotonic_ns()
    way = attempt.way if attempt is not None else None
    origin = way.backend.origin if way is not None else None
    reader = attempt.reader if attempt is not None else None
    usage = reader.usage if reader is not None else None
    given = request.headers.get(b"traceparent")  # which may be no such thing
    return Ended(
        trace=request.trace,
        parent=given if given is not None and given[3:35] == request.trace[3:35] else None,
        arrived=timing.arrived + back,
        sent=timing.sent and timing.sent + back,
        first=timing.first and timing.first + back,
        ended=time.time_ns(),
        path=request.route.path,
        operation=call.operation.value if call.path else "",
        request=request.id,
        tenant=request.caller.tenant,
        alias=request.alias_name,
        backend=way.backend.name if way is not None else "",
        kind=way.backend.kind.value if way is not None else "",
        host=origin.host if origin is not None else "",
        port=origin.port if origin is not None else 0,
        model=way.model if way is not None else "",
        stream=call.stream,
        prompt_tokens=usage.prompt_tokens if usage is not None else None,
        completion_tokens=usage.completion_tokens if usage is not None else 0,
        finish=(reader.finish_reason or "") if reader is not None else "",
        status=status,
        outcome=outcome,
        error=error,
        attempts=request.attempts,
        queued=request.queued,
        fallback=request.fallback,
    )
