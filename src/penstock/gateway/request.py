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

import re
import time
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Protocol

import msgspec
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
from penstock.gateway import answer, route
from penstock.gateway.auth import check_scope
from penstock.gateway.record import Record
from penstock.gateway.trace import continued
from penstock.protocols import refusal
from penstock.protocols.dialect import Call, Reader, Timing
from penstock.protocols.table import IDLERS, Route
from penstock.types import LOCAL, Operation, Wire

if TYPE_CHECKING:
    from penstock.gateway.fleet import Backend
    from penstock.gateway.line import Line
    from penstock.gateway.metrics import Series
    from penstock.gateway.upstream import Exchange, Origin
    from penstock.gateway.ways import Way

log = structlog.stdlib.get_logger("penstock.line")

Headers = list[bytes]
"""Raw lines, `name: value` with CR and LF, one or several in each."""
HELD = 1024 * 1024
"""Bytes of a stream held back while it has no content yet."""
NEVER = float("inf")
OPTIONS_NAMED = 32
"""Dropped options that are named in the header of one answer."""
OPTION_LENGTH = 64
_PLAIN = re.compile(r"[^A-Za-z0-9_.\-]")


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


# Members of an Enum are looked up through its metaclass; these are read several times a request.
_QUEUED, _ASKED, _OVER = Phase.QUEUED, Phase.ASKED, Phase.OVER
_OPENAI, _RESPONSES = Wire.OPENAI, Operation.RESPONSES


class Request:
    """One request of one client."""

    __slots__ = (
        "_ahead",
        "_alias",
        "_begun",
        "_call",
        "_client",
        "_dropped",
        "_error",
        "_exchange",
        "_fallback",
        "_heads",
        "_held",
        "_held_size",
        "_last",
        "_paused",
        "_queued",
        "_reader",
        "_retry_after",
        "_since",
        "_size",
        "_status",
        "_taken",
        "_trace",
        "_trail",
        "_waiting_for",
        "_way",
        "alias_name",
        "attempts",
        "backend",
        "caller",
        "deadline",
        "id",
        "line",
        "phase",
        "route",
        "timing",
        "total",
    )

    def __init__(self, line: Line, asked: Route, headers: Mapping[bytes, bytes], request_id: bytes) -> None:
        self.line = line
        self.route = asked
        self.id = request_id
        self.timing = Timing(time.monotonic_ns())
        self._heads = headers
        self.caller = LOCAL
        self.alias_name = ""
        self.attempts = 0
        self.backend: Backend | None = None
        self.deadline = NEVER
        self.phase = Phase.HEAD
        self.total = NEVER
        self._ahead: Sequence[Way] = ()
        self._begun = False
        self._call: Call | None = None
        self._client: Client | None = None
        self._dropped = b""
        self._error = b""
        self._exchange: Exchange | None = None
        self._fallback = ""
        self._held: tuple[bytes, ...] = ()
        self._held_size = 0
        self._last: EngineFault | None = None
        self._paused = False
        self._queued = 0.0
        self._reader: Reader | None = None
        self._retry_after: int | None = None
        self._since = 0.0
        self._size = 0
        self._status = 0
        self._taken = False
        self._trace = b""
        self._trail: tuple[str, ...] = ()
        self._waiting_for: Backend | None = None
        self._way: Way | None = None
        if b"traceparent" in headers:
            self._trace = continued(headers[b"traceparent"])

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
        if self.phase is _OVER:
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
        if self.phase in {_QUEUED, Phase.HEAD}:
            self._refuse(Overloaded("This gateway is shutting down.", retry_after=1))
        else:
            fault = EngineTimeout("This gateway is shutting down and its drain deadline has passed.")
            self._ahead = ()
            self._failed(fault, ours=True)

    def expire(self, now: float) -> None:
        """The deadline of this phase has passed."""
        limits = self.line.limits
        if self.phase is _QUEUED:
            msg = f"Waiting for a slot: none came free within {limits.queue_wait:g} s."
            self._refuse(Overloaded(msg, hint="Try again later.", retry_after=5))
        elif self._reader is not None and self._reader.finished:
            self.complete()
        elif now >= self.total:
            self._ahead = ()
            self._failed(EngineTimeout("The answer took longer than its total limit allows."))
        elif self._begun:
            msg = f"Nothing more came within {limits.between_tokens:g} s."
            self._failed(EngineTimeout(msg))
        else:
            self._failed(EngineTimeout("No first token within its limit."))

    # ── decode, alias, candidates ────────────────────────────────────────────────────────────────────────────────────

    def _decide(self, body: bytes) -> None:
        line, heads = self.line, self._heads
        content_type = heads.get(b"content-type", b"").decode("latin-1")
        call = self._call = self.route.decode(body, content_type)
        name = self.alias_name = line.names.find(call.model, call.face, self.caller)
        check_scope(self.caller, name)
        self._alias = line.names.aliases[name]
        known = line.ways(self.route, name, self._alias, call.operation)
        ways = known.simple or known.order(self._affinity(call))
        if call.previous:
            made_by = line.made_by(self.caller.tenant, call.previous)
            ways = [way for way in ways if way.backend.name == made_by] or ways
        if not ways:
            raise line.unsupported(self.route, name)
        self._ahead = ways
        self.total = time.monotonic() + (self._alias.total or line.limits.total)

    def _affinity(self, call: Call) -> bytes | None:
        header = self._heads.get(b"x-session-id") or self._heads.get(b"x-openwebui-chat-id")
        session = header.decode("latin-1") if header else call.session
        return route.affinity(self.caller.tenant, session, call.body)

    # ── admit and route ──────────────────────────────────────────────────────────────────────────────────────────────

    def _queue(self) -> None:
        self.phase = _QUEUED
        if not self.line.admission.enter(self):
            self._since = time.monotonic()
            self.deadline = min(self.total, self._since + self.line.limits.queue_wait)

    def try_start(self) -> bool:
        """Take the best way whose backend has a slot; False to go on waiting. Called by admission."""
        now = time.monotonic()
        rank: int | None = None
        for index, way in enumerate(self._ahead):
            if rank is not None and way.rank != rank:
                break
            backend = way.backend
            if not (backend.breaker.calm or backend.breaker.admits(now)):
                continue
            rank = way.rank
            if backend.busy < backend.slots:
                self._ahead = [*self._ahead[:index], *self._ahead[index + 1 :]] if len(self._ahead) > 1 else ()
                self._attempt(way, now)
                return True
        if rank is not None:
            return False
        self._give_up()
        return True

    def _attempt(self, way: Way, now: float) -> None:
        if self._since:
            self._queued += now - self._since
            self._since = 0.0
            self.line.metrics.queued(self.alias_name, self._queued)
        self._way = way
        backend = self.backend = way.backend
        self.attempts += 1
        if way.rank:
            self._note_fallback(backend)
        if self.attempts > 1:
            self._reader, self._retry_after = None, None
            self._held, self._held_size, self._size, self._status = (), 0, 0, 0
            self._error = b""
        backend.take(now)
        self.line.admission.aliases[self.alias_name].busy += 1
        self._taken = True
        call = self._call
        if call is not None and call.idle and backend.wire is _OPENAI:
            self._answer(IDLERS[self.route.path].idle(call, way.to), "application/json; charset=utf-8")
            return
        instance = backend.embedder() if way.embeds else backend
        if instance.origin is None:
            self._await(instance)
        else:
            self._send(way, instance.origin, now)

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
        if instance.origin is None or self._way is None:
            self._failed(Unavailable(f"Starting the engine {instance.name}: {instance.reason}"))
        else:
            self._send(self._way, instance.origin, time.monotonic())

    # ── upstream ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _send(self, way: Way, origin: Origin, now: float) -> None:
        call = self._call
        if call is None:
            return
        try:
            outgoing = way.pairing.request(call, way.to)
        except (BadRequest, Unsupported) as error:
            self._refuse(error)
            return
        if outgoing.dropped:
            self._note_dropped(outgoing.dropped, way.backend.kind.value)
        self.phase = _ASKED
        self.timing.sent = time.monotonic_ns()
        self.timing.first = self.timing.last = 0
        self.deadline = min(self.total, now + self._first_token()) if call.stream else self.total
        head = answer.request_head(origin, way.backend.key_header, outgoing, self.id, self._heads, self._trace)
        self._exchange = origin.ask(head + outgoing.body, self)
        if self._paused:
            self._exchange.pause()

    def _note_dropped(self, options: tuple[str, ...], kind: str) -> None:
        # names that a client made up: they stand in a header line, and become labels that are kept
        named = [_PLAIN.sub("?", option[:OPTION_LENGTH]) for option in options[:OPTIONS_NAMED]]
        self._dropped = ", ".join(named).encode("ascii")
        for option in named:
            self.line.metrics.count("penstock_options_dropped", self.line.option_label(option), kind)

    def _first_token(self) -> float:
        return self._alias.first_token or self.line.limits.first_token

    def answered(self, status: int, headers: dict[bytes, bytes]) -> None:
        """The engine's head: begin to read an answer or to collect an error."""
        self._status = status
        call, way = self._call, self._way
        if status >= answer.ERRORS or call is None or way is None:
            self._retry_after = answer.retry_after(headers.get(b"retry-after"))
            return
        fault = answer.unfit(status, headers, stream=call.stream, wire=way.backend.wire, operation=call.operation)
        if fault is not None:
            self._failed(fault)
            return
        reader = self._reader = way.pairing.reader(call, way.to, self.timing, time.monotonic_ns)
        if not reader.content_type:
            reader.content_type = headers.get(b"content-type", b"application/octet-stream").decode("latin-1")

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
            if self._begun and fault.before:
                self._relay(fault.before, before)
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
        now = last / 1e9 if last != before else time.monotonic()
        if last != before and self._way is not None:
            self._way.series.inter_token.observe((last - before) / 1e9)
        if not self._paused:
            self.deadline = min(self.total, now + self.line.limits.between_tokens)
        if piece and self._client is not None:
            self._client.write(piece)

    def _hold(self, piece: bytes, reader: Reader) -> None:
        """Nothing is sent before there is content, so that another backend may still answer."""
        if piece:
            self._held = (*self._held, piece)
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
        client.begin(200, [*self._head(reader.content_type), b"cache-control: no-cache\r\n"])
        client.write(b"".join(self._held))
        self._held = ()
        if self._call is not None:
            # No other backend may answer any more, so the body is not needed while a long answer comes.
            self._call = msgspec.structs.replace(self._call, body=b"")
        if not self._paused:
            self.deadline = min(self.total, time.monotonic() + self.line.limits.between_tokens)

    def complete(self) -> None:
        """The engine's body is whole."""
        reader, call = self._reader, self._call
        self._exchange = None
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
        way, call = self._way, self._call
        if way is None or call is None:
            return
        way.backend.succeeded(way.model)
        if call.operation is _RESPONSES:
            made = getattr(reader, "answer_id", None)
            if made:
                self.line.stick(self.caller.tenant, made, way.backend.name)

    # ── failure and fallback ─────────────────────────────────────────────────────────────────────────────────────────

    def _engine_refused(self) -> None:
        """The engine answered with an error status; find out whose fault it is."""
        way, call = self._way, self._call
        if way is None or call is None:
            return
        backend = way.backend
        message = refusal.message_of(self._error)
        fault = answer.fault_of(self._status, message, backend.name, self._retry_after)
        if fault is None:
            backend.breaker.succeeded()
            body = refusal.translated(call.face, backend.wire, self._status, self._error)
            self._answer(body, "application/json", status=self._status)
            return
        if isinstance(fault, NotLoaded):
            backend.suspect()
        if answer.cannot_load(message):
            backend.cannot_load[way.model] = message
        self._failed(fault)

    def _failed(self, fault: EngineFault, *, ours: bool = False) -> None:
        """This attempt is over; go on with the next candidate, or say so."""
        backend = self.backend
        if backend is not None:
            self._trail = (*self._trail, f"{backend.name}: {fault.message}")
            self.line.metrics.count("penstock_attempts_failed", backend.name, fault.reason)
            if answer.counts_against(fault) and not ours:
                backend.failed(time.monotonic())
        self._last = fault
        if self._begun:
            self._break_stream(fault)
            return
        self._drop_exchange()
        self._release(wake=False)
        if self.attempts >= self.line.limits.attempts or not self._ahead:
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
        title = backend.kind.label if backend is not None else "The engine"
        log.warning("%s failed: %s; the stream ended in an error", title, fault.message, request=self.id.decode())
        self._close(200, outcome="broken", error=fault.message)

    def _note_fallback(self, backend: Backend) -> None:
        """The log line that the documents promise, and what the header and the metric say."""
        name = self._alias.targets[0].backends[0]
        # A reload may have taken it away since this request came in.
        first = self.line.fleet.backends.get(name)
        cause = self._last.message if self._last is not None else (first and first.reason) or "its breaker is open"
        reason = self._last.reason if self._last is not None else "unhealthy"
        if not self._fallback:
            self.line.metrics.count("penstock_fallback", name, backend.name, reason)
        self._fallback = reason
        log.warning(
            "%s failed: %s, trying %s", first.kind.label if first else name, cause, backend.kind.label,
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
        backends = dict.fromkeys(way.backend for way in self._ahead)
        return [f"{one.name}: {one.reason or 'resting after failures'}" for one in backends]

    # ── the answer ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _head(self, content_type: str) -> Headers:
        headers = self._plain_head(content_type)
        if self._way is not None:
            headers.append(self._way.head)
        if self._fallback:
            headers.append(b"x-penstock-fallback: " + self._fallback.encode() + b"\r\n")
        if self._dropped:
            headers.append(b"x-penstock-dropped: " + self._dropped + b"\r\n")
        return headers

    def _plain_head(self, content_type: str) -> Headers:
        headers = [b"content-type: %b\r\nx-penstock-request-id: %b\r\n" % (content_type.encode("latin-1"), self.id)]
        if self._trace:
            headers.append(b"traceparent: " + self._trace + b"\r\n")
        if b"origin" in self._heads:
            headers.append(b"access-control-allow-origin: " + self._heads[b"origin"] + b"\r\nvary: origin\r\n")
        return headers

    def _answer(self, body: bytes, content_type: str, *, status: int = 200) -> None:
        if self._client is not None:
            self._client.answer(status, self._head(content_type), body)
        self._close(status)

    def _refuse(self, error: PenstockError) -> None:
        if self.phase is _OVER:
            return
        headers = self._plain_head("application/json")
        if error.retry_after is not None:
            headers.append(b"retry-after: %d\r\n" % error.retry_after)
        if self._client is not None:
            self._client.answer(error.status, headers, refusal.body(self.route.face, error))
        if not self.attempts:
            self.line.metrics.count("penstock_refused", error.code)
        self._close(error.status, outcome="refused", error=error.message)

    # ── the end ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _drop_exchange(self) -> None:
        if self._exchange is not None:
            exchange, self._exchange = self._exchange, None
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
        if self._way is not None:
            return self._way.series
        operation = self._call.operation.value if self._call is not None else ""
        return self.line.metrics.series(self.alias_name, "", operation)

    def _close(self, status: int, *, outcome: str = "answered", error: str = "") -> None:
        """Exactly once, whatever happened: stop the engine, free the slot, count and keep."""
        if self.phase is _OVER:
            return
        if self.phase is _QUEUED:
            self.line.admission.leave(self)
        self.phase = _OVER
        self.deadline = NEVER
        self.line.active.discard(self)
        self._client = None
        self._drop_exchange()
        self._keep(status, outcome, error)
        self._release()

    def _keep(self, status: int, outcome: str, error: str) -> None:
        seconds = (time.monotonic_ns() - self.timing.arrived) / 1e9
        series = self._series()
        series.statuses[status] = series.statuses.get(status, 0) + 1
        series.seconds.observe(seconds)
        usage = self._reader.usage if self._reader is not None else None
        if usage is not None:
            series.prompt_tokens += usage.prompt_tokens
            series.completion_tokens += usage.completion_tokens
        if self.line.records.lines:
            self.line.records.add(self._record(status, seconds, outcome, error))

    def _record(self, status: int, seconds: float, outcome: str, error: str) -> Record:
        reader, way, call, timing = self._reader, self._way, self._call, self.timing
        usage = reader.usage if reader is not None else None
        # By position, in the order of its fields: naming twenty of them costs more than everything else here.
        return Record(
            "request",
            "info",
            self.line.records.wall.now(),
            self.id.decode(),
            self.caller.name,
            self.route.path,
            status,
            seconds,
            self.alias_name,
            way.backend.name if way is not None else "",
            way.model if way is not None else "",
            call.stream if call is not None else False,
            usage.prompt_tokens if usage is not None else 0,
            usage.completion_tokens if usage is not None else 0,
            (timing.first - timing.arrived) / 1e9 if timing.first else 0.0,
            self._queued,
            self.attempts,
            self._fallback,
            (reader.finish_reason or "") if reader is not None else "",
            outcome,
            error,
            self._trace.decode() if self._trace else "",
        )
