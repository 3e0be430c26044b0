"""What becomes of a begun stream whose engine fails: another one goes on with it, or it ends in an explicit error.

Reached only when an attempt fails after content was sent. Where the alias has `midstream: continue` or `restart`, its
reader remembers the answer (protocols/midstream.py); a backend of the same target is given a slot and asked for the rest.
The head went out long ago and cannot change: that another engine went on is told by the log, the record and a metric.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import structlog

from penstock.errors import Diverged, EngineFault, Overloaded, Unavailable
from penstock.gateway import answer
from penstock.gateway.attempt import Attempt
from penstock.gateway.salts import salts_for
from penstock.gateway.ways import Way, Ways
from penstock.protocols import refusal
from penstock.protocols.midstream import Joined
from penstock.protocols.remainder import How

if TYPE_CHECKING:
    from penstock.gateway.request import Request
    from penstock.gateway.upstream import Exchange
    from penstock.protocols.dialect import Call, Reader
    from penstock.types import Caller

log = structlog.stdlib.get_logger("penstock.line")

_CONTEXT = ("context length", "max_model_len", "max_tokens", "max_completion_tokens")
"""Words of an engine that does take begun answers, but not this long ones."""
_BEFORE = 0.2
_UNWILLING = frozenset({400, 404, 405, 415, 422, 501})

Candidate = tuple[Way, How]


def broke(request: Request, attempt: Attempt, fault: EngineFault, *, ours: bool) -> None:
    """The engine of a begun stream failed; `ours`: it did not, but we must end."""
    reader = attempt.reader
    why = ""
    if isinstance(reader, Joined) and not ours and request.client is not None:
        found = _found(request, attempt, reader, fault)
        if found is None:
            return
        why = found
    _end(request, attempt, fault, why, ours=ours)


def _found(request: Request, attempt: Attempt, reader: Joined, fault: EngineFault) -> str | None:
    """Let somebody go on; or why nobody can."""
    alias = request.alias_name
    if time.monotonic() >= request.total or isinstance(fault, Diverged):
        request.line.metrics.count("penstock_midstream", alias, _how(attempt), fault.reason)
        return ""
    ending = reader.ending()
    if ending is not None:
        request.line.metrics.count("penstock_midstream", alias, "ending", "joined")
        attempt.drop()
        request.succeeded(reader, ending)
        return None
    if request.attempts >= request.line.limits.attempts:
        found: list[Candidate] | str = f"limits.attempts allows {request.line.limits.attempts}"
    else:
        found = _candidates(request, attempt, reader)
    if isinstance(found, str):
        request.line.metrics.count("penstock_midstream", alias, _how(attempt), "nobody")
        return found
    attempt.drop()
    request.release(wake=False)
    resumed = Resumed(request, reader, found)
    log.warning(
        "%s failed: %s; asking %s for the rest", attempt.way.backend.kind.label, fault.logged, found[0][0].backend.name,
        request=request.id.decode(), alias=alias, how=found[0][1].value,
    )  # fmt: skip
    resumed.start()
    request.line.admission.wake()
    return None


def _how(attempt: Attempt) -> str:
    return attempt.how.value if isinstance(attempt, Resumed) else ""


def _candidates(request: Request, attempt: Attempt, reader: Joined) -> list[Candidate] | str:
    """Backends of the same target that can go on: those that failed least for this request, by tokens before all else."""
    known, now = request.known, time.monotonic()
    ways = known.order(None) if isinstance(known, Ways) else ()
    failed = [name for name, _ in request.failures]
    found: list[Candidate] = []
    reasons: list[str] = []
    for way in ways:
        backend = way.backend
        if (way.rank, way.model) != (attempt.way.rank, attempt.way.model):
            continue
        if backend.origin is None or request.line.fleet.backends.get(backend.name) is not backend:
            reasons.append(f"{backend.name} is gone")
        elif not (backend.breaker.calm or backend.breaker.admits(now)):
            reasons.append(f"{backend.name} rests after failures")
        else:
            how = reader.how(way.to, refuses=way.model in backend.refuses_rest)
            if isinstance(how, How):
                found.append((way, how))
            else:
                reasons.append(f"{backend.name}: {how}")
    if found:
        # One that failed already has room for that very reason: it is not asked while another can be waited for.
        fewest = min(failed.count(way.backend.name) for way, _ in found)
        found = [one for one in found if failed.count(one[0].backend.name) == fewest]
        return sorted(found, key=lambda one: one[1] is not How.TOKENS)
    return "; ".join(dict.fromkeys(reasons)) or "nobody else serves it"


def _end(request: Request, attempt: Attempt, fault: EngineFault, why: str, *, ours: bool) -> None:
    """An explicit error in the client's protocol, after which nothing comes."""
    backend = attempt.way.backend
    told = fault if ours else fault.of(backend.name)
    if why:
        told = type(told)(f"{told.message} Nobody went on: {why}.", hint=told.hint, retry_after=told.retry_after)
    if attempt.reader is not None and request.client is not None:
        request.client.end(attempt.reader.fault(told))
    request.line.metrics.count("penstock_streams_broken", request.alias_name, backend.name, fault.reason)
    more = {"midstream": why} if why else {}
    log.warning(
        "%s failed: %s; the stream ended in an error",
        backend.kind.label,
        fault.logged,
        request=request.id.decode(),
        **more,
    )
    request.close(200, outcome="broken", error=told.message)


class Place:
    """A begun answer in the queue for a slot; stands where its exchange will."""

    def __init__(self, resumed: Resumed) -> None:
        self._resumed = resumed
        self.alias_name = resumed.request.alias_name
        self.caller: Caller = resumed.request.caller
        self.call: Call = resumed.request.call
        self._timer: asyncio.TimerHandle | None = None

    def enter(self) -> None:
        """Go now, or wait as long as a request may."""
        request = self._resumed.request
        try:
            if request.line.admission.enter(self):
                return
        except Overloaded as error:
            self.shed(error)
            return
        # a little before the time of the whole request is up, which would be taken for the fault of an engine
        left = max(0.0, request.total - time.monotonic() - _BEFORE)
        limit = min(request.line.limits.queue_wait, left)
        self._timer = asyncio.get_running_loop().call_later(limit, self._expire)

    def try_start(self) -> bool:
        """Admission: whether it went."""
        found = next((one for one in self._resumed.candidates if one[0].backend.busy < one[0].backend.slots), None)
        if found is None:
            return False
        self._stop()
        self._resumed.go(*found)
        return True

    def shed(self, error: Overloaded) -> None:
        """There is no place for it."""
        self._stop()
        self._resumed.unplaced(error.message)

    def abort(self) -> None:
        """The client left, or its time is over."""
        self._stop()
        self._resumed.request.line.admission.leave(self)

    def pause(self) -> None:
        """Nothing comes yet."""

    def resume(self) -> None:
        """Likewise."""

    def _expire(self) -> None:
        self._timer = None
        self._resumed.request.line.admission.leave(self)
        self._resumed.unplaced("no slot came free in time")

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Resumed(Attempt):
    """An attempt to go on with a begun answer."""

    __slots__ = ("_answered", "_since", "candidates", "how")

    exchange: Exchange | Place | None  # type: ignore[assignment]  # while it waits for a slot, its place in the queue
    reader: Reader

    def __init__(self, request: Request, reader: Joined, candidates: Sequence[Candidate]) -> None:
        way, how = candidates[0]
        super().__init__(request, way)
        self.reader = reader
        self.begun = True
        self.candidates = candidates
        self.how = how
        self._since = 0.0
        self._answered = False

    def start(self) -> None:
        """Wait for a slot; the request is ours from here on."""
        self.request.attempt = self
        self.request.deadline = self.request.total
        place = Place(self)
        self.exchange = place
        place.enter()

    def go(self, way: Way, how: How) -> None:
        """There is a slot: ask for the rest."""
        request, now = self.request, time.monotonic()
        self.way, self.how = way, how
        backend = way.backend
        self.trial = backend.take(now)
        way.queue.busy += 1
        request.took()
        reader, origin = self.reader, backend.origin
        if origin is None or not isinstance(reader, Joined):
            request.failed(Unavailable("It was taken out."))
            return
        outgoing = reader.rest(how, way.to)
        salts = salts_for(outgoing.path, backend.kind, request.line.salts)
        if salts is not None:
            outgoing = salts.salted(outgoing, request.caller)
        # An engine may still be busy ending the first one, and takes an id for one request only.
        name = b"%b-%d" % (request.id[:120], request.attempts)
        data = answer.request(
            origin, backend.key_header, outgoing, name, request.headers, request.trace or request.line.untraced
        )
        self._since = now
        request.deadline = min(request.total, now + request.first_token)
        self.exchange = origin.ask(data, self)
        if request.paused:
            self.exchange.pause()

    def unplaced(self, why: str) -> None:
        """There was no slot to go on with."""
        self.exchange = None
        self.request.line.metrics.count("penstock_midstream", self.request.alias_name, self.how.value, "nobody")
        _end(self.request, self, Unavailable("The answer broke off."), why, ours=True)

    def silent_since(self) -> float:
        """Until the new engine speaks it has as long as for a first token."""
        if self._answered:
            return super().silent_since()
        return self._since + self.request.first_token - self.request.between_tokens

    def answered(self, status: int, headers: dict[bytes, bytes]) -> None:
        """The engine's head."""
        if status < answer.ERRORS:
            wire, operation = self.way.backend.wire, self.request.call.operation
            fault = answer.unfit(status, headers, stream=True, wire=wire, operation=operation)
            if fault is not None:
                self.request.failed(fault)
        else:
            super().answered(status, headers)

    def received(self, data: bytes) -> None:
        """Body bytes of the engine."""
        if self._refused is not None:
            self._collect_error(data)
            return
        self._answered = True
        super().received(data)

    def complete(self) -> None:
        """The engine's body is whole."""
        if self._refused is not None:
            self.exchange = None
            self._judge()
            return
        super().complete()
        if self.reader.finished:
            self.request.line.metrics.count("penstock_midstream", self.request.alias_name, self.how.value, "joined")

    def _judge(self) -> None:
        refused, backend = self._refused, self.way.backend
        if refused is None:
            return
        message = refusal.message_of(refused.body)
        fault = answer.fault_of(refused.status, message, backend.name, refused.retry_after)
        if fault is None:
            fault = Unavailable(f"It refuses to go on with the answer ({refused.status}): {message}")
            if (
                self.how is not How.REPLAY
                and refused.status in _UNWILLING
                and not any(word in message for word in _CONTEXT)
            ):
                backend.refuses_rest.add(self.way.model)
        self.request.failed(fault)
