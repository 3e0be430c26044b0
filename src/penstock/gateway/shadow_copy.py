"""One copy of a request on its way to a shadow, beside the request itself: what both engines said, and when both are done.

A copy has one attempt and one deadline, nothing of it is tried twice, and whatever becomes of it, its caller does not
notice.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from penstock.errors import BadRequest, BrokenAnswer, EngineFault, Unsupported
from penstock.gateway import answer
from penstock.gateway.shadow_pair import Seen, Side
from penstock.gateway.shadow_room import Room, Slots
from penstock.gateway.upstream import Exchange, Listener, Origin
from penstock.protocols import refusal
from penstock.protocols.dialect import Call, Destination, Pairing, Reader, Timing
from penstock.protocols.repeatable import Wish
from penstock.types import LOCAL

if TYPE_CHECKING:
    from penstock.gateway.backend import Backend
    from penstock.gateway.request import Request

LARGEST = 8 * 2**20
"""Bytes of a body or an answer that is compared."""
NO_TIME = "it gave no whole answer within the total limit of a copy"
SUFFIX = b"-shadow"
"""Stands behind the request's id in what the shadow's engine is told, so that no engine sees the same id twice."""


class Where(msgspec.Struct, frozen=True):
    """Who is asked, and how."""

    backend: Backend
    origin: Origin
    pairing: Pairing
    to: Destination


class Copy(Listener):
    """One request, asked of a shadow as well. It tells its owner once: with a pair, or with why there is none."""

    def __init__(
        self,
        call: Call,
        request_id: bytes,
        alias: str,
        tenant: str,
        slots: Slots,
        room: Room,
        over: Callable[[Copy, Seen | str], None],
    ) -> None:
        self.call = call
        self.id = request_id
        self._tenant = tenant
        self.caller = LOCAL
        self.alias = alias
        self.where: Where | None = None
        self.wish = Wish()
        self._asking = False
        self._room = room
        self._slots: Slots | None = slots
        slots.taken += 1
        self._over: Callable[[Copy, Seen | str], None] | None = over
        self._size = 0
        self._exchange: Exchange | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._reader: Reader | None = None
        self._error = b""
        self._timing = Timing()
        self._first: Side | None = None
        self._second: Side | None = None
        self._first_parts: list[bytes] = []
        self._second_parts: list[bytes] = []
        self._first_size = self._second_size = 0
        self._status = 0

    @property
    def over(self) -> bool:
        """Whether nothing more will come of it."""
        return self._over is None

    @property
    def asking(self) -> Backend | None:
        """The backend that works on it now."""
        return self.where.backend if self._asking and self.where is not None else None

    # ── the shadow's side ────────────────────────────────────────────────────────────────────────────────────────────

    def send(self, where: Where, limit: float, loop: asyncio.AbstractEventLoop) -> None:
        """Ask; `limit` is in seconds from now."""
        self.where = where
        try:
            outgoing = where.pairing.request(self.call, where.to)
        except (BadRequest, Unsupported):
            self.drop("unsupported")
            return
        if not self._hold(len(self.call.body) + len(outgoing.body)):
            return
        now = time.monotonic_ns()
        self._timing = Timing(now, now)
        data = answer.request(where.origin, where.backend.key_header, outgoing, self.id + SUFFIX, {}, b"")
        self._asking = True
        self._timer = loop.call_later(limit, self._expire)
        self._exchange = where.origin.ask(data, self)

    def answered(self, status: int, headers: dict[bytes, bytes]) -> None:
        """The head of the shadow's answer."""
        self._status = status
        where, call = self.where, self.call
        if status >= answer.ERRORS or where is None:
            return
        fault = answer.unfit(status, headers, stream=call.stream, wire=where.backend.wire, operation=call.operation)
        if fault is None:
            self._reader = where.pairing.reader(call, where.to, self._timing, time.monotonic_ns)
            self.call = msgspec.structs.replace(call, body=b"")
        else:
            self.lost(fault)

    def received(self, data: bytes) -> None:
        """Bytes of it."""
        if self._reader is None:
            self._error += data[: answer.ERROR_LIMIT - len(self._error)]
            return
        self._second_size += len(data)
        if self._second_size > LARGEST:
            self.drop("too_large")
            return
        if not self._hold(len(data)):
            return
        try:
            self._second_parts.append(self._reader.feed(data))
        except EngineFault as fault:
            self.lost(fault)

    def complete(self) -> None:
        """All of it."""
        if self._reader is None:
            self._answered(f"it answered {self._status}: {refusal.message_of(self._error)}")
            return
        try:
            self._second_parts.append(self._reader.close())
        except EngineFault as fault:
            self.lost(fault)
        else:
            self._answered("")

    def lost(self, fault: EngineFault) -> None:
        """No answer, or no whole one."""
        if self._reader is not None and self._reader.finished and not isinstance(fault, BrokenAnswer):
            self._answered("")
        else:
            self._answered(fault.message)

    def _expire(self) -> None:
        self._timer = None
        self._answered(NO_TIME)

    def _answered(self, error: str) -> None:
        if not self._asking:
            return
        self._stop_asking()
        where, reader, timing = self.where, self._reader, self._timing
        self._second = Side(
            body=b"".join(self._second_parts),
            status=self._status,
            error=error,
            backend=where.backend.name if where is not None else "",
            model=where.to.model if where is not None else "",
            usage=reader.usage if reader is not None else None,
            seconds=(time.monotonic_ns() - timing.sent) / 1e9,
            first_token=self._first_token(timing),
        )
        self._second_parts = []
        self._reader = None
        self._finish()

    def _stop_asking(self) -> None:
        self._asking = False
        if self._slots is not None:
            self._slots.taken -= 1
            self._slots = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._exchange is not None:
            exchange, self._exchange = self._exchange, None
            exchange.abort()

    # ── the caller's side ────────────────────────────────────────────────────────────────────────────────────────────

    def saw(self, data: bytes) -> None:
        """The client was sent this."""
        if self._over is None or not data:
            return
        self._first_size += len(data)
        if self._first_size > LARGEST:
            self.drop("too_large")
        elif self._hold(len(data)):
            self._first_parts.append(data)

    def ended(self, request: Request, status: int, error: str) -> None:
        """The request is over, its client has got everything."""
        if self._over is None:
            return
        if status == 499:
            self.drop("left")
            return
        body = b"".join(self._first_parts)
        self._first_parts = []
        if status >= answer.ERRORS and not error:
            error = f"it answered {status}: {refusal.message_of(body)}"
        attempt, timing = request.attempt, request.timing
        self._first = Side(
            body=body,
            status=status,
            error=error,
            backend=attempt.way.backend.name if attempt is not None else "",
            model=attempt.way.model if attempt is not None else "",
            usage=attempt.reader.usage if attempt is not None and attempt.reader is not None else None,
            seconds=(time.monotonic_ns() - timing.sent) / 1e9,
            first_token=self._first_token(timing),
        )
        self._finish()

    def _first_token(self, timing: Timing) -> float:
        return (timing.first - timing.sent) / 1e9 if timing.first and self.call.stream else 0.0

    # ── both ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    def drop(self, reason: str) -> None:
        """There will be no pair, and the shadow's engine shall not go on for nobody."""
        self._tell(reason)

    def release(self) -> None:
        """Nothing of it is needed any more."""
        self._room.give(self._size)
        self._size = 0

    def _finish(self) -> None:
        if self._first is None or self._second is None:
            return
        self._tell(
            Seen(
                id=self.id.decode(),
                alias=self.alias,
                tenant=self._tenant,
                made=time.time(),
                path=self.call.path,
                stream=self.call.stream,
                wish=self.wish,
                first=self._first,
                second=self._second,
            )
        )

    def _tell(self, what: Seen | str) -> None:
        over, self._over = self._over, None
        if over is None:
            return
        self._stop_asking()
        self._first_parts, self._second_parts, self._reader = [], [], None
        if isinstance(what, str):
            self.release()
        over(self, what)

    def _hold(self, size: int) -> bool:
        if self._room.take(size):
            self._size += size
            return True
        self.drop("memory")
        return False
