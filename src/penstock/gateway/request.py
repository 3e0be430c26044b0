"""One request on its way: the steps of the line in the order they happen, each a method.

    start    decode the head, find the alias, order the candidates, ask for a slot
    try_start  a slot is free: write the request for the best candidate and send it
    answered, received, complete, lost   what the engine does, told by upstream
    leave, pause, resume                 what the client does, told by the lane
    expire                               a limit passed

Until the first content has been sent a failed attempt moves on to the next candidate; afterwards it ends in an
explicit error. Everything happens in callbacks of one event loop, so no step can see another half done.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from enum import Enum
from typing import TYPE_CHECKING, Protocol

import structlog

from penstock.errors import (
    BadRequest,
    BrokenAnswer,
    EngineFault,
    EngineTimeout,
    NotLoaded,
    Overloaded,
    PenstockError,
    RateLimited,
    Refusal,
    Unavailable,
    Unsupported,
)
from penstock.gateway import answer, route, trace
from penstock.gateway.auth import check_scope
from penstock.gateway.record import Record, timestamp
from penstock.protocols import refusal
from penstock.protocols.dialect import Call, Pairing, Reader, Timing
from penstock.protocols.table import PAIRINGS, Route
from penstock.types import LOCAL, Operation, Wire

if TYPE_CHECKING:
    from penstock import config
    from penstock.gateway.fleet import Backend
    from penstock.gateway.line import Line
    from penstock.gateway.metrics import Series
    from penstock.gateway.route import Candidate
    from penstock.gateway.upstream import Exchange

log = structlog.stdlib.get_logger("penstock.line")

Headers = list[tuple[bytes, bytes]]
HELD = 1024 * 1024
"""Bytes of a stream held back while it has no content yet."""
NEVER = float("inf")


class Client(Protocol):
    """Where the answer goes. A lane implements it; nothing here waits for it."""

    def answer(self, status: int, headers: Headers, body: bytes) -> None:
        """A whole answer."""

    def begin(self, status: int, headers: Headers) -> None:
        """The head of a streamed answer; may wait for the first `write`."""

    def write(self, data: bytes) -> None:
        """A piece of it."""

    def end(self, data: bytes) -> None:
        """The last piece, possibly empty."""


class Phase(Enum):
    """Where a request is."""

    HEAD = "head"
    QUEUED = "queued"
    STARTING = "starting"
    ASKED = "asked"
    STREAMING = "streaming"
    OVER = "over"


class Request:
    """One request of one client."""

    __slots__ = (
        "_affinity", "_alias", "_begun", "_call", "_candidate", "_candidates", "_client", "_dropped", "_error", "_exchange",
        "_fallback", "_heads", "_held", "_held_size", "_last", "_pairing", "_paused", "_queued", "_reader", "_retry_after", "_since", "_size",
        "_status", "_taken", "_trace", "_trail", "_waiting_for", "alias_name", "attempts", "backend", "caller",
        "deadline", "id", "line", "phase", "route", "timing", "total",
    )  # fmt: skip

    def __init__(self, line: Line, asked: Route, headers: Mapping[bytes, bytes], request_id: bytes) -> None:
        self.line = line
        self.route = asked
        self.id = request_id
        self.caller = LOCAL
        self.phase = Phase.HEAD
        self.deadline = NEVER
        self.total = NEVER
        self.timing = Timing(arrived=time.monotonic_ns())
        self.alias_name = ""
        self.attempts = 0
        self.backend: Backend | None = None
        self._heads = headers
        self._client: Client | None = None
        self._call: Call | None = None
        self._candidates: list[Candidate] = []
        self._candidate: Candidate | None = None
        self._pairing: Pairing | None = None
        self._reader: Reader | None = None
        self._exchange: Exchange | None = None
        self._waiting_for: Backend | None = None
        self._taken = False
        self._begun = False
        self._paused = False
        self._held: list[bytes] = []
        self._held_size = 0
        self._retry_after: int | None = None
        self._size = 0
        self._status = 0
        self._error = bytearray()
        self._last: EngineFault | None = None
        self._trail: list[str] = []
        self._fallback = ""
        self._dropped = b""
        self._queued = self._since = 0.0
        self._trace = trace.continued(headers.get(b"traceparent"))

    # ── from the lane ────────────────────────────────────────────────────────────────────────────────────────────────

    def start(self, body: bytes, client: Client) -> None:
        """The body is whole: decide who may answer, and go as soon as there is a slot."""
        self._client = client
        self.line.active.add(self)
        try:
            self._decide(body)
            self._queue()
        except Refusal as error:
            self._refuse(error)

    def leave(self) -> None:
        """The client is gone: the engine shall not go on for nobody."""
        if self.phase is Phase.OVER:
            return
        self.line.metrics.count("penstock_clients_gone", self.alias_name, self.phase.value)
        self._client = None
        self._close(499, outcome="client gone")

    def pause(self) -> None:
        """The client reads more slowly than the engine writes."""
        self._paused = True
        if self._exchange is not None:
            self._exchange.pause()
            self.deadline = self.total

    def resume(self) -> None:
        """It has caught up."""
        self._paused = False
        if self._exchange is not None:
            self.deadline = min(self.total, time.monotonic() + self.line.limits.between_tokens)
            self._exchange.resume()

    def break_off(self) -> None:
        """The process must end."""
        if self.phase in {Phase.QUEUED, Phase.HEAD}:
            self._refuse(Overloaded("This gateway is shutting down.", retry_after=1))
        else:
            fault = EngineTimeout("This gateway is shutting down and its drain deadline has passed.")
            self._candidates.clear()
            self._failed(fault, ours=True)

    def expire(self, now: float) -> None:
        """The deadline of this phase has passed."""
        limits = self.line.limits
        if self.phase is Phase.QUEUED:
            msg = f"Waiting for a slot: none came free within {limits.queue_wait:g} s."
            self._refuse(Overloaded(msg, hint="Try again later.", retry_after=5))
        elif self._reader is not None and self._reader.finished:
            self.complete()
        elif now >= self.total:
            self._candidates.clear()
            self._failed(EngineTimeout("The answer took longer than its total limit allows."))
        elif self._begun:
            msg = f"Nothing more came within {limits.between_tokens:g} s."
            self._failed(EngineTimeout(msg))
        else:
            self._failed(EngineTimeout("No first token within its limit."))

    # ── decode, alias, candidates ────────────────────────────────────────────────────────────────────────────────────

    def _decide(self, body: bytes) -> None:
        line = self.line
        content_type = self._heads.get(b"content-type", b"").decode("latin-1")
        call = self._call = self.route.decode(body, content_type)
        name = self.alias_name = line.names.find(call.model)
        check_scope(self.caller, name)
        self._alias: config.Alias = line.names.aliases[name]
        session = self._heads.get(b"x-session-id") or self._heads.get(b"x-openwebui-chat-id")
        conversation = session.decode("latin-1") if session else call.session
        self._affinity = route.affinity(self.caller.tenant, conversation, body)
        self._candidates = self._able(route.candidates(self._alias, call.operation, self._affinity, line.fleet))
        if not self._candidates:
            raise line.unsupported(self.route, name)
        now = time.monotonic()
        self.total = now + (self._alias.total or line.limits.total)

    def _able(self, candidates: list[Candidate]) -> list[Candidate]:
        able = [one for one in candidates if self.line.supports(self.route, one)]
        call = self._call
        if call is not None and call.previous:
            made_by = self.line.sticky.get(call.previous)
            able = [one for one in able if one.backend == made_by] or able
        return able

    # ── admit and route ──────────────────────────────────────────────────────────────────────────────────────────────

    def _queue(self) -> None:
        self.phase = Phase.QUEUED
        self._since = 0.0
        if not self.line.admission.enter(self):
            self._since = time.monotonic()
            self.deadline = min(self.total, self._since + self.line.limits.queue_wait)

    def try_start(self) -> bool:
        """Take the best candidate that has a slot; False to go on waiting. Called by admission."""
        now = time.monotonic()
        rank: int | None = None
        for index, candidate in enumerate(self._candidates):
            if rank is not None and candidate.rank != rank:
                break
            backend = self.line.fleet.backends.get(candidate.backend)
            if backend is None or not backend.breaker.admits(now):
                continue
            rank = candidate.rank
            if backend.free:
                del self._candidates[index]
                self._attempt(backend, candidate)
                return True
        if rank is not None:
            return False
        self._give_up()
        return True

    def _attempt(self, backend: Backend, candidate: Candidate) -> None:
        if self.phase is Phase.QUEUED and self._since:
            self._queued += time.monotonic() - self._since
            self.line.metrics.queued(self.alias_name, self._queued)
        self.attempts += 1
        if candidate.rank:
            self._note_fallback(backend)
        self.backend, self._candidate = backend, candidate
        self._pairing = PAIRINGS[self.route.path, backend.wire]
        self._reader = None
        self._held.clear()
        self._held_size = self._size = self._status = 0
        self._retry_after = None
        self._error.clear()
        backend.take(time.monotonic())
        self.line.admission.aliases[self.alias_name].busy += 1
        self._taken = True
        self._dispatch(backend)

    def _dispatch(self, backend: Backend) -> None:
        call = self._call
        if call is None or self._pairing is None or self._candidate is None:
            return
        if call.idle and backend.wire is Wire.OPENAI:
            to = self.line.destination(backend, self._candidate.model)
            self._answer(self._pairing.idle(call, to), "application/json; charset=utf-8")
            return
        instance = backend.for_path(_engine_path(self.route.path))
        if instance.origin is None:
            self._await(instance)
            return
        self._send(instance)

    def _await(self, instance: Backend) -> None:
        """An engine process of our own is still starting."""
        self.phase = Phase.STARTING
        self._waiting_for = instance
        self.deadline = min(self.total, time.monotonic() + self._first_token())
        instance.when_up(self._up)

    def _up(self) -> None:
        instance, self._waiting_for = self._waiting_for, None
        if instance is None or self.phase is not Phase.STARTING:
            return
        if instance.origin is None:
            self._failed(Unavailable(f"Starting the engine {instance.name}: {instance.reason}"))
        else:
            self._send(instance)

    # ── upstream ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _send(self, instance: Backend) -> None:
        origin, pairing, call, candidate = instance.origin, self._pairing, self._call, self._candidate
        if origin is None or pairing is None or call is None or candidate is None:
            return
        to = self.line.destination(instance, candidate.model)
        try:
            outgoing = pairing.request(call, to)
        except (BadRequest, Unsupported) as error:
            self._refuse(error)
            return
        if outgoing.dropped:
            self._dropped = ", ".join(outgoing.dropped).encode("ascii", "replace")
            for option in outgoing.dropped:
                self.line.metrics.count("penstock_options_dropped", option, instance.kind.value)
        self.phase = Phase.ASKED
        timing = self.timing
        timing.sent, timing.first, timing.last = time.monotonic_ns(), 0, 0
        wait = self._first_token() if call.stream else NEVER
        self.deadline = min(self.total, timing.sent / 1e9 + wait)
        head = answer.request_head(origin, instance.key_header, outgoing, self.id, self._heads, self._trace)
        self._exchange = origin.ask(head + outgoing.body, self)
        if self._paused:
            self._exchange.pause()

    def _first_token(self) -> float:
        return self._alias.first_token or self.line.limits.first_token

    def answered(self, status: int, headers: dict[bytes, bytes]) -> None:
        """The engine's head: begin to read an answer or to collect an error."""
        self._status = status
        call, pairing, candidate, backend = self._call, self._pairing, self._candidate, self.backend
        if status >= answer.ERRORS or call is None or pairing is None or candidate is None or backend is None:
            self._retry_after = answer.retry_after(headers.get(b"retry-after"))
            return
        fault = answer.unfit(status, headers, stream=call.stream, wire=backend.wire, operation=call.operation)
        if fault is not None:
            self._failed(fault)
            return
        to = self.line.destination(backend, candidate.model)
        self._reader = pairing.reader(call, to, self.timing, time.monotonic_ns)
        if not self._reader.content_type:
            self._reader.content_type = headers.get(b"content-type", b"application/octet-stream").decode("latin-1")

    def received(self, data: bytes) -> None:
        """Body bytes of the engine."""
        reader = self._reader
        if reader is None:
            if len(self._error) < answer.ERROR_LIMIT:
                self._error += data
            return
        before = self.timing.last
        try:
            piece = reader.feed(data)
        except EngineFault as fault:
            self._failed(fault)
            return
        if self._begun:
            self._relay(piece, before)
        elif self._call is not None and self._call.stream:
            self._hold(piece, reader)
        else:
            self._size += len(data)
            if self._size > self.line.limits.answer:
                self._failed(BrokenAnswer(f"The answer passes the limit of {self.line.limits.answer} bytes."))

    def _relay(self, piece: bytes, before: int) -> None:
        last = self.timing.last
        if last != before:
            self._series().inter_token.observe((last - before) / 1e9)
        if piece and self._client is not None:
            self._client.write(piece)
        if not self._paused:
            self.deadline = min(self.total, time.monotonic() + self.line.limits.between_tokens)

    def _hold(self, piece: bytes, reader: Reader) -> None:
        """Nothing is sent before there is content, so that another backend may still answer."""
        if piece:
            self._held.append(piece)
            self._held_size += len(piece)
        if reader.content:
            self._begin(reader)
        elif self._held_size > HELD:
            self._failed(BrokenAnswer(f"{HELD} bytes of a stream came without any content."))

    def _begin(self, reader: Reader) -> None:
        self._begun = True
        self.phase = Phase.STREAMING
        if self.timing.first:
            self._series().first_token.observe((self.timing.first - self.timing.arrived) / 1e9)
        client = self._client
        if client is None:
            return
        client.begin(200, [*self._head(reader.content_type), (b"cache-control", b"no-cache")])
        client.write(b"".join(self._held))
        self._held.clear()
        if not self._paused:
            self.deadline = min(self.total, time.monotonic() + self.line.limits.between_tokens)

    def complete(self) -> None:
        """The engine's body is whole."""
        reader, call = self._reader, self._call
        if reader is None or call is None:
            self._engine_refused()
            return
        try:
            rest = reader.close()
        except EngineFault as fault:
            self._failed(fault)
            return
        self._succeeded(reader)
        if call.stream:
            if not self._begun:
                self._begin(reader)
            if self._client is not None:
                self._client.end(rest)
            self._close(200)
        else:
            self._answer(rest, reader.content_type)

    def lost(self, fault: EngineFault) -> None:
        """The engine went away. Whatever it does after it has said everything is of no interest."""
        self._exchange = None
        if self._reader is not None and self._reader.finished:
            self.complete()
        else:
            self._failed(fault)

    def _succeeded(self, reader: Reader) -> None:
        backend, candidate = self.backend, self._candidate
        if backend is None or candidate is None:
            return
        backend.breaker.succeeded()
        backend.cannot_load.pop(candidate.model, None)
        made = getattr(reader, "answer_id", None)
        if made and self._call is not None and self._call.operation is Operation.RESPONSES:
            self.line.stick(made, backend.name)

    # ── failure and fallback ─────────────────────────────────────────────────────────────────────────────────────────

    def _engine_refused(self) -> None:
        """The engine answered with an error status; find out whose fault it is."""
        backend, call = self.backend, self._call
        if backend is None or call is None:
            return
        body = bytes(self._error)
        message = refusal.message_of(body)
        fault = answer.fault_of(self._status, message, backend.name, self._retry_after)
        if fault is None:
            backend.breaker.succeeded()
            body = refusal.translated(call.face, backend.wire, self._status, body)
            self._answer(body, "application/json", status=self._status)
            return
        if isinstance(fault, NotLoaded):
            backend.suspect()
        elif isinstance(fault, answer.MissingRoute):
            self._candidates = [one for one in self._candidates if one.backend != backend.name]
        if answer.cannot_load(message) and self._candidate is not None:
            backend.cannot_load[self._candidate.model] = message
        self._failed(fault)

    def _failed(self, fault: EngineFault, *, ours: bool = False) -> None:
        """This attempt is over; go on with the next candidate, or say so."""
        backend = self.backend
        if backend is not None:
            self._trail.append(f"{backend.name}: {fault.message}")
            self.line.metrics.count("penstock_attempts_failed", backend.name, fault.reason)
            if answer.counts_against(fault) and not ours:
                backend.breaker.failed(time.monotonic())
        self._last = fault
        if self._begun:
            self._break_stream(fault)
            return
        self._drop_exchange()
        self._release(wake=False)
        if self.attempts >= self.line.limits.attempts or not self._candidates:
            self._give_up()
        elif not self.try_start():
            try:
                self._queue()
            except Overloaded as error:
                self._refuse(error)
        self.line.admission.wake()

    def _break_stream(self, fault: EngineFault) -> None:
        reader, client, backend = self._reader, self._client, self.backend
        if reader is not None and client is not None:
            client.end(reader.fault(fault))
        name = backend.name if backend is not None else ""
        self.line.metrics.count("penstock_streams_broken", self.alias_name, name, fault.reason)
        title = backend.kind.title if backend is not None else "The engine"
        log.warning("%s failed: %s; the stream ended in an error", title, fault.message, request=self.id.decode())
        self._close(200, outcome="broken", error=fault.message)

    def _note_fallback(self, backend: Backend) -> None:
        """The log line that the documents promise, and what the header and the metric say."""
        first = self.line.fleet.backends[self._alias.targets[0].backends[0]]
        cause = self._last.message if self._last is not None else first.reason or "its breaker is open"
        reason = self._last.reason if self._last is not None else "unhealthy"
        if not self._fallback:
            self.line.metrics.count("penstock_fallback", first.name, backend.name, reason)
        self._fallback = reason
        log.warning(
            "%s failed: %s, trying %s", first.kind.title, cause, backend.kind.title,
            request=self.id.decode(), alias=self.alias_name, to=backend.name, reason=reason,
        )  # fmt: skip

    def _give_up(self) -> None:
        """No candidate is left."""
        last = self._last
        if isinstance(last, answer.MissingRoute):
            self._refuse(self.line.unsupported(self.route, self.alias_name))
            return
        tried = "; ".join(self._trail) or "; ".join(self._why_not())
        message = f"No backend of the model {self.alias_name!r} answered. {tried}"
        if isinstance(last, RateLimited):
            self._refuse(RateLimited(message, retry_after=last.retry_after or 1))
        elif last is not None:
            self._refuse(type(last)(message, hint="The gateway's log has the details.", retry_after=last.retry_after))
        else:
            self._refuse(Unavailable(message, hint="Try again in a moment.", retry_after=2))

    def _why_not(self) -> list[str]:
        backends = self.line.fleet.backends
        names = dict.fromkeys(one.backend for one in self._candidates)
        return [f"{name}: {backends[name].reason or 'resting after failures'}" for name in names if name in backends]

    # ── the answer ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _head(self, content_type: str) -> Headers:
        headers = self._plain_head(content_type)
        if self._candidate is not None:
            headers.append((b"x-penstock-backend", self._candidate.backend.encode()))
            headers.append((b"x-penstock-model", self._candidate.model.encode("utf-8")))
        if self._fallback:
            headers.append((b"x-penstock-fallback", self._fallback.encode()))
        if self._dropped:
            headers.append((b"x-penstock-dropped", self._dropped))
        return headers

    def _plain_head(self, content_type: str) -> Headers:
        headers = [(b"content-type", content_type.encode("latin-1")), (b"x-penstock-request-id", self.id)]
        if self._trace:
            headers.append((b"traceparent", self._trace))
        if b"origin" in self._heads:
            headers.append((b"access-control-allow-origin", self._heads[b"origin"]))
            headers.append((b"vary", b"origin"))
        return headers

    def _answer(self, body: bytes, content_type: str, *, status: int = 200) -> None:
        if self._client is not None:
            self._client.answer(status, self._head(content_type), body)
        self._close(status)

    def _refuse(self, error: PenstockError) -> None:
        if self.phase is Phase.OVER:
            return
        headers = self._plain_head("application/json")
        if error.retry_after is not None:
            headers.append((b"retry-after", str(error.retry_after).encode()))
        if self._client is not None:
            self._client.answer(error.status, headers, refusal.body(self.route.face, error))
        if not self.attempts:
            self.line.metrics.count("penstock_refused", error.code)
        self._close(error.status, outcome="refused", error=error.message)

    # ── the end ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _drop_exchange(self) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.abort()

    def _release(self, *, wake: bool = True) -> None:
        if self._waiting_for is not None:
            self._waiting_for.forget(self._up)
            self._waiting_for = None
        if not self._taken or self.backend is None:
            return
        self._taken = False
        self.backend.give()
        self.line.admission.aliases[self.alias_name].busy -= 1
        if wake:
            self.line.admission.wake()

    def _series(self) -> Series:
        backend = self.backend.name if self.backend is not None else ""
        return self.line.metrics.series(self.alias_name, backend, self._operation())

    def _operation(self) -> str:
        return self._call.operation.value if self._call is not None else ""

    def _close(self, status: int, *, outcome: str = "answered", error: str = "") -> None:
        """Exactly once, whatever happened: stop the engine, free the slot, count and keep."""
        if self.phase is Phase.OVER:
            return
        if self.phase is Phase.QUEUED:
            self.line.admission.leave(self)
        self.phase = Phase.OVER
        self.deadline = NEVER
        self.line.active.discard(self)
        self._drop_exchange()
        self._count(status)
        if self.line.records.lines:
            self.line.records.add(self._record(status, outcome, error))
        self._release()
        self._client = None

    def _count(self, status: int) -> None:
        series = self._series()
        series.statuses[status] = series.statuses.get(status, 0) + 1
        series.seconds.observe((time.monotonic_ns() - self.timing.arrived) / 1e9)
        usage = self._reader.usage if self._reader is not None else None
        if usage is not None:
            series.prompt_tokens += usage.prompt_tokens
            series.completion_tokens += usage.completion_tokens

    def _record(self, status: int, outcome: str, error: str) -> Record:
        reader, candidate, call, timing = self._reader, self._candidate, self._call, self.timing
        usage = reader.usage if reader is not None else None
        return Record(
            time=timestamp(),
            request=self.id.decode(),
            caller=self.caller.name,
            path=self.route.path,
            status=status,
            seconds=(time.monotonic_ns() - timing.arrived) / 1e9,
            alias=self.alias_name,
            backend=candidate.backend if candidate is not None else "",
            model=candidate.model if candidate is not None else "",
            stream=call.stream if call is not None else False,
            prompt_tokens=usage.prompt_tokens if usage is not None else 0,
            completion_tokens=usage.completion_tokens if usage is not None else 0,
            first_token=(timing.first - timing.arrived) / 1e9 if timing.first else 0.0,
            queued=self._queued,
            attempts=self.attempts,
            fallback=self._fallback,
            finish=(reader.finish_reason or "") if reader is not None else "",
            outcome=outcome,
            error=error,
            trace=self._trace.decode() if self._trace else "",
        )


def _engine_path(path: str) -> str:
    return "/v1/embeddings" if path in {"/v1/embeddings", "/api/embed", "/api/embeddings"} else path
