"""One request on its way: the steps of the line in the order they happen, each a method.

    start      decode the head, find the alias, order the ways, ask for a slot
    try_start  a slot is free: an attempt for the best way (attempt.py) is sent off
    begin, succeeded, passed, failed     what became of the attempt
    leave, pause, resume                 what the client does, told by the lane
    expire                               a limit passed

Until content has been sent a failed attempt moves on to the next way; afterwards it ends in an explicit error.
Everything happens in callbacks of one event loop, so no step can see another half done.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from penstock.errors import EngineFault, EngineTimeout, Exhausted, Overloaded, PenstockError, Refusal
from penstock.gateway import allowed, answer_head, choice, closing, failover, guards, late, midstream, storing
from penstock.gateway.attempt import Attempt
from penstock.gateway.client import Client
from penstock.gateway.phase import Phase
from penstock.gateway.split import Plan
from penstock.gateway.starting import Starting
from penstock.gateway.trace import continued
from penstock.protocols import refusal
from penstock.protocols.dialect import Call, Reader, Timing
from penstock.protocols.table import IDLERS, Route
from penstock.types import Caller, Face, Operation, Wire

if TYPE_CHECKING:
    from penstock.gateway.line import Line
    from penstock.gateway.prefix import Trip
    from penstock.gateway.quota import Held
    from penstock.gateway.receipt_note import Note
    from penstock.gateway.shadow_copy import Copy
    from penstock.gateway.ways import Way

NEVER = float("inf")
# Members of an Enum are looked up through its metaclass; these are read several times a request.
_HEAD, _QUEUED, _STARTING, _STREAMING, _OVER = Phase.HEAD, Phase.QUEUED, Phase.STARTING, Phase.STREAMING, Phase.OVER
_OPENAI, _RESPONSES = Wire.OPENAI, Operation.RESPONSES
_UNREAD = Call(Operation.CHAT, Face.OPENAI, "", b"", "", "", stream=False)  # until the body has been decoded


class Request:
    """One request of one client."""

    __slots__ = (
        "_ahead", "_since", "_slot", "alias_name", "attempt", "attempts", "between_tokens", "call", "caller",
        "client", "copy", "deadline", "dropped", "failures", "fallback", "first_token", "headers", "id", "known", "line", "paused",
        "phase", "queued", "quota", "receipt", "route", "starting", "timing", "total", "trace", "trip", "verdicts",
    )  # fmt: skip

    def __init__(
        self, line: Line, asked: Route, headers: Mapping[bytes, bytes], request_id: bytes, caller: Caller
    ) -> None:
        self.line = line
        self.route = asked
        self.headers = headers
        self.id = request_id
        self.caller = caller
        self.timing = Timing(time.monotonic_ns())
        self.trace = continued(headers[b"traceparent"]) if b"traceparent" in headers else b""
        if line.traces is not None and not self.trace:
            self.trace = line.traces.begin()
        self.phase = _HEAD
        self.deadline = self.total = NEVER
        self.client: Client | None = None
        self.copy: Copy | None = None
        self.trip: Trip | None = None
        self.call = _UNREAD
        self.alias_name = ""
        self.known: Plan | None = None
        self._ahead: Sequence[Way] = ()
        self.attempt: Attempt | None = None
        self.attempts = 0
        self.dropped = b""
        self.paused = False
        self._slot = False
        self.fallback = ""
        self.failures: tuple[failover.Failure, ...] = ()
        self.queued = self._since = 0.0
        self.starting: Starting | None = None
        self.verdicts: tuple[tuple[str, str], ...] = ()
        self.receipt: Note | None = None
        self.quota: Held | None = None

    # ── from the lane ────────────────────────────────────────────────────────────────────────────────────────────────

    def start(self, body: bytes, client: Client) -> None:
        """The body is whole: decide who may answer, and go as soon as there is a slot."""
        self.client = client
        self.line.active.add(self)
        now = time.monotonic()
        receipts = self.line.receipts
        if receipts is not None and (unrecorded := receipts.begin(self)) is not None:
            self._refuse(unrecorded)
            return
        try:
            previous = self._read(body, now)
        except Refusal as error:
            self._refuse(error)
            return
        if previous and not self.line.answers.knows(previous):
            self.line.answers.look_up(previous, self._looked_up)
        else:
            self._go(now)

    def _looked_up(self, trouble: PenstockError | None) -> None:
        """The state has been asked whose the answer before this one is; `trouble` is why it does not tell."""
        if self.phase is _OVER:
            return
        if trouble is not None and not self.line.keyring.open:
            self._refuse(trouble)
        else:
            self._go(time.monotonic())

    def leave(self) -> None:
        """The client is gone: the engine shall not go on for nobody."""
        if self.phase is _OVER:
            return
        self.line.metrics.count("penstock_clients_gone", self.alias_name, self.phase.value)
        self.client = None
        self._close(499, outcome="client gone")

    def pause(self) -> None:
        """The client reads more slowly than the engine writes."""
        self.paused = True
        if self.attempt is not None:
            self.attempt.pause()
            self.deadline = self.total

    def resume(self) -> None:
        """It has caught up."""
        self.paused = False
        if self.attempt is not None:
            self.wait_from(time.monotonic())
            self.attempt.resume()

    @property
    def waiting(self) -> bool:
        """Whether no engine has anything to do with it yet."""
        return self.phase in {_QUEUED, _HEAD}

    def break_off(self) -> None:
        """The process must end."""
        if self.waiting:
            self._refuse(Overloaded("This gateway is shutting down.", retry_after=1))
        elif self.phase is not _OVER:
            self._ahead = ()
            self.failed(EngineTimeout("This gateway is shutting down and its drain deadline has passed."), ours=True)

    def expire(self, now: float) -> None:
        """The deadline of this phase has passed."""
        late.expire(self, now)

    def run_out(self, message: str) -> None:
        """Its total limit has passed, or nobody shall be asked any more: this is the last word."""
        self._ahead = ()
        self.failed(EngineTimeout(message))

    # ── decode, alias, ways ──────────────────────────────────────────────────────────────────────────────────────────

    def _read(self, body: bytes, now: float) -> str | None:
        """What is asked, of which alias; the id of the answer that it continues."""
        call = self.call = self.route.decode(body, self.headers.get(b"content-type", b"").decode("latin-1"))
        known = self.known = self.line.served(self.route, call, self.caller, now)
        self.alias_name = known.name
        if not self.caller.free:
            allowed.check(self.caller, known.name, call)
        if known.rules is not None:
            guards.enter(self, known.rules)
        return call.previous

    def _go(self, now: float) -> None:
        if (self.caller.limits is None and not self.line.quotas.budgets) or self.line.quotas.admits(self):
            self.proceed(now)

    def proceed(self, now: float) -> None:
        """The limits of its caller let it pass."""
        known = self.known
        if known is None:
            return
        try:
            self._ahead = (not self.call.previous and known.simple) or choice.ways(self, known)
            self.total = now + known.total
            self.first_token, self.between_tokens = known.first_token, known.between_tokens
            self._queue()
        except PenstockError as error:
            self._refuse(error)

    # ── admit and route ──────────────────────────────────────────────────────────────────────────────────────────────

    def _queue(self) -> None:
        self.phase = _QUEUED
        if not self.line.admission.enter(self):
            self._since = time.monotonic()
            self.deadline = min(self.total, self._since + self.line.limits.queue_wait)

    def try_start(self) -> bool:
        """Take the best way whose backend has a slot; False to go on waiting. Called by admission."""
        now = time.monotonic()
        ahead = self._ahead
        best = ahead[0] if ahead else None
        if best is not None and best.backend.breaker.calm and best.backend.busy < best.backend.slots:
            self._ahead = ahead[1:]
            self._attempt(best, now)
            return True
        return self._start_another(ahead, now)

    def _start_another(self, ahead: Sequence[Way], now: float) -> bool:
        """The best way is busy or in doubt."""
        ahead = self._ahead = choice.still(self, ahead, now)
        index, waits = choice.free(ahead, now)
        if index is not None:
            self._ahead = [*ahead[:index], *ahead[index + 1 :]]
            self._attempt(ahead[index], now)
        elif waits:
            return False
        else:
            self._give_up()
        return True

    def _attempt(self, way: Way, now: float) -> None:
        if self._since:
            self.queued += now - self._since
            self._since = 0.0
            self.line.metrics.queued(self.alias_name, self.queued)
        backend = way.backend
        self.attempts += 1
        if self.attempts > 1:
            self.timing.first = self.timing.last = 0
            self.dropped = b""
        if way.rank:
            failover.note(self, backend, self.failures)
        attempt = self.attempt = Attempt(self, way)
        attempt.trial = backend.take(now)
        way.queue.busy += 1
        self._slot = True
        if self.trip is not None:
            self.trip.begin(backend.sent, now)
        if self.call.idle and backend.wire is _OPENAI:
            self._answer(IDLERS[self.route.path].idle(self.call, way.to), "application/json; charset=utf-8")
            return
        instance = backend.embedder() if way.embeds else backend
        try:
            if instance.origin is not None:
                attempt.send(instance.origin, now)
            else:
                self.phase = _STARTING
                self.deadline = min(self.total, now + self.first_token)
                self.starting = Starting(self, instance)
        except Refusal as error:
            self._refuse(error)

    # ── what becomes of the attempt ──────────────────────────────────────────────────────────────────────────────────

    def wait_from(self, now: float) -> None:
        """The engine said something, or may say something again: it has until then to go on."""
        self.deadline = min(self.total, now + self.between_tokens)

    def whole_by(self, now: float) -> float:
        """When an engine that is asked now must have given its whole answer: sooner where another could still be asked."""
        if not self._ahead or self.known is None or self.attempts >= self.line.limits.attempts:
            return self.total
        return min(self.total, now + self.known.whole)

    def begin(self, reader: Reader, held: bytes) -> None:
        """A stream has content."""
        self.phase = _STREAMING
        if self.trip is not None:
            self.trip.over()
            self.trip = None
        if self.timing.first:
            closing.series(self).first_token.observe((self.timing.first - self.timing.arrived) / 1e9)
        if self.client is None:
            return
        self.client.begin(200, [*answer_head.full(self, reader.content_type), b"cache-control: no-cache\r\n"])
        self.client.write(held)
        # No other backend may answer any more, so the body is not needed while a long answer comes.
        self.call = msgspec.structs.replace(self.call, body=b"")
        if not self.paused:
            self.wait_from(time.monotonic())

    def succeeded(self, reader: Reader, rest: bytes, *, stored: bool = False) -> None:
        """The engine's answer is whole: `rest` is what is left of a stream, or all of it."""
        if self.call.operation is _RESPONSES and not stored and storing.begin(self, reader, rest):
            return
        if not self.call.stream:
            self._answer(rest, reader.content_type)
            return
        if self.attempt is not None and not self.attempt.begun:
            self.attempt.begin(reader)
        if self.client is not None:
            self.client.end(rest)
        self._close(200)

    def passed(self, status: int, body: bytes) -> None:
        """The engine refused what the caller asked; that is the answer."""
        self._answer(body, "application/json", status=status)

    def failed(self, fault: EngineFault, *, ours: bool = False) -> None:
        """This attempt is over; go on with the next way, or say so."""
        attempt = self.attempt
        if attempt is not None:
            backend = attempt.way.backend
            self.failures = (*self.failures, (backend.name, fault))
            self.line.metrics.count("penstock_attempts_failed", backend.name, fault.reason)
            if isinstance(fault, Exhausted):
                self.line.room.missing(fault.what)
            elif not ours:
                backend.failed(fault, time.monotonic())
            if attempt.begun:
                midstream.broke(self, attempt, fault, ours=ours)
                return
            attempt.drop()
            if self.trip is not None:
                self.trip.failed()
        self._release(wake=False)
        if not failover.more(self, fault, self._ahead, time.monotonic()):
            self._give_up()
        elif not self.try_start():
            try:
                self._queue()
            except Overloaded as error:
                self._refuse(error)
        self.line.admission.wake()

    def _give_up(self) -> None:
        """No way is left."""
        refused, logged = failover.last_word(self, self._ahead, time.monotonic())
        self._refuse(refused, logged=logged)

    # ── the answer ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _answer(self, body: bytes, content_type: str, *, status: int = 200) -> None:
        if self.client is not None:
            self.client.answer(status, answer_head.full(self, content_type), body)
        self._close(status)

    def _refuse(self, error: PenstockError, *, logged: str = "") -> None:
        if self.phase is _OVER:
            return
        if self.client is not None:
            headers = answer_head.refused(self, error.retry_after)
            self.client.answer(error.status, headers, refusal.body(self.route.face, error))
        if not self.attempts:
            self.line.metrics.count("penstock_refused", error.code)
        self._close(error.status, outcome="refused", error=logged or error.message)

    shed = _refuse

    def took(self) -> None:
        """The present attempt, which goes on with a begun answer, was given a slot."""
        self.attempts += 1
        self._slot = True

    # ── the end ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _release(self, *, wake: bool = True) -> None:
        if self.starting is not None:
            self.starting.forget()
            self.starting = None
        if not self._slot or self.attempt is None:
            return
        self._slot = False
        way = self.attempt.way
        way.backend.give(self.attempt.trial)
        way.queue.busy -= 1
        if self.trip is not None:
            self.trip.over()
        if wake and self.line.admission.waiting:
            self.line.admission.ended(self.caller.tenant, closing.generated(self))

    def _close(self, status: int, *, outcome: str = "answered", error: str = "") -> None:
        """Exactly once, whatever happened: stop the engine, free the slot, count and keep."""
        if self.phase is _OVER:
            return
        if self.phase is _QUEUED:
            self.line.admission.leave(self)
        self.phase = _OVER
        self.deadline = NEVER
        self.line.active.discard(self)
        self.client = None
        attempt = self.attempt
        if attempt is not None and attempt.exchange is not None:
            attempt.drop()
        closing.keep(self, status, outcome, error)
        if self._slot or self.starting is not None:
            self._release()
        if self.copy is not None:
            self.copy.ended(self, status, error)
        # They hold each other: without this every request, with its body, would wait for the cycle collector.
        self.attempt = None

    release, close = _release, _close
