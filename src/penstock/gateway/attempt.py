"""One way tried: what one engine is asked, and what it says.

It ends in one of three calls to its request: an answer (`succeeded`), a fault that another way may mend (`failed`), or an
answer of the engine that is the caller's own affair (`passed`). Until content has come nothing goes to the client, so
that another engine may still answer; from then on the pieces of a stream pass as they come.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

import msgspec

from penstock.errors import BrokenAnswer, EngineFault, NotLoaded, Refusal
from penstock.gateway import answer
from penstock.gateway.phase import Phase
from penstock.gateway.upstream import Listener
from penstock.protocols import refusal

if TYPE_CHECKING:
    from penstock.gateway.request import Request
    from penstock.gateway.upstream import Exchange, Origin
    from penstock.gateway.ways import Way
    from penstock.protocols.dialect import Reader

HELD = 1024 * 1024
"""Bytes of a stream held back while it has no content yet."""
OPTIONS_NAMED = 32
"""Dropped options that are named in the header of one answer."""
OPTION_LENGTH = 64
_PLAIN = re.compile(r"[^A-Za-z0-9_.\-]")
_ASKED = Phase.ASKED  # members of an Enum are looked up through its metaclass


class _Refused(msgspec.Struct):
    """An engine's answer with an error status, as far as it has come."""

    status: int
    retry_after: int | None
    coded: bool
    body: bytes = b""


class Attempt(Listener):
    """One request on its way to one engine."""

    __slots__ = ("_held", "_refused", "_size", "begun", "exchange", "heard", "reader", "request", "trial", "way")

    alike = True

    def __init__(self, request: Request, way: Way) -> None:
        self.request = request
        self.way = way
        self.trial = 0
        """What the backend gave with its slot, and takes back with it."""
        self.reader: Reader | None = None
        self.begun = False
        """Content has been sent to the client: no other engine may answer any more."""
        self.exchange: Exchange | None = None
        """While the engine may still say something."""
        self._held: tuple[bytes, ...] = ()
        self._size = 0
        """Bytes held back of a stream, or of a whole answer so far."""
        self._refused: _Refused | None = None
        self.heard = 0
        """Monotonic nanoseconds of the last thing said that brought no content."""

    # ── from the request ─────────────────────────────────────────────────────────────────────────────────────────────

    def send(self, origin: Origin, now: float) -> None:
        """Write the request for this engine and send it; raises what cannot be said there."""
        request, way = self.request, self.way
        call = request.call
        try:
            outgoing = way.pairing.request(call, way.to)
        except Refusal as error:
            if not request.fallback:
                raise
            # The first target would have taken it: nothing is wrong with it but who stands in.
            request.failed(answer.Misfit(error.message))
            return
        if way.salts is not None:
            outgoing = way.salts.salted(outgoing, request.caller)
        if outgoing.dropped:
            request.dropped = self._named(outgoing.dropped)
        if request.receipt is not None:
            request.receipt.opened(request, way)
        request.phase = _ASKED
        request.timing.sent = time.monotonic_ns()
        request.deadline = min(request.total, now + request.first_token) if call.stream else request.whole_by(now)
        data = answer.request(
            origin,
            way.backend.key_header,
            outgoing,
            request.id,
            request.headers,
            request.trace or request.line.untraced,
        )
        exchange = self.exchange = origin.ask(data, self)
        if request.paused:
            exchange.pause()
        if request.known is not None and request.known.alias.shadow is not None and request.attempts == 1:
            request.copy = request.line.shadows.see(request)

    def patience(self) -> float | None:
        """The connect limit of its alias."""
        return self.request.known.connect if self.request.known is not None else None

    def wants(self) -> str:
        """The model that must still be there."""
        return self.way.model

    def pause(self) -> None:
        """The client reads more slowly than the engine writes."""
        if self.exchange is not None:
            self.exchange.pause()

    def resume(self) -> None:
        """It has caught up."""
        if self.exchange is not None:
            self.exchange.resume()

    def drop(self) -> None:
        """Whatever the engine still does, it does for nobody."""
        if self.exchange is not None:
            exchange, self.exchange = self.exchange, None
            exchange.abort()

    # ── from upstream ────────────────────────────────────────────────────────────────────────────────────────────────

    def answered(self, status: int, headers: dict[bytes, bytes]) -> None:
        """The engine's head: begin to read an answer or to collect an error."""
        if status >= answer.ERRORS:
            self._refused = _Refused(status, answer.retry_after(headers.get(b"retry-after")), answer.coded(headers))
            return
        request, way = self.request, self.way
        call = request.call
        fault = answer.unfit(status, headers, stream=call.stream, wire=way.backend.wire, operation=call.operation)
        if fault is not None:
            request.failed(fault)
            return
        self._read(headers)

    def _read(self, headers: dict[bytes, bytes]) -> Reader:
        request, way = self.request, self.way
        reader = self.reader = way.pairing.reader(request.call, way.to, request.timing, time.monotonic_ns)
        if not reader.content_type:
            reader.content_type = headers.get(b"content-type", b"application/octet-stream").decode("latin-1")
        return reader

    def received(self, data: bytes) -> None:
        """Body bytes of the engine."""
        reader = self.reader
        if reader is None:
            self._collect_error(data)
            return
        timing = self.request.timing
        before = timing.last
        try:
            piece = reader.feed(data)
        except EngineFault as fault:
            if self.begun and fault.before:
                self._relay(fault.before, before)
            self.request.failed(fault)
            return
        if self.begun:
            self._relay(piece, before)
        elif self.request.call.stream:
            self._hold(piece, reader)
        else:
            self._count(len(data))

    def whole(self, headers: dict[bytes, bytes], body: bytes) -> None:
        """The usual answer to what is not streamed: all of it at once."""
        if (
            self.request.call.stream
            or headers.get(b"content-type") not in answer.PLAIN
            or b"content-encoding" in headers
            or len(body) > self.request.line.limits.answer
        ):
            self._in_turn(headers, body)
            return
        self._read(headers).feed(body)
        self.complete()

    def _in_turn(self, headers: dict[bytes, bytes], body: bytes) -> None:
        """The three calls that `whole` stands for; each may end this attempt."""
        self.answered(answer.OK, headers)
        if self.exchange is not None:
            self.received(body)
        if self.exchange is not None:
            self.complete()

    def complete(self) -> None:
        """The engine's body is whole."""
        exchange, self.exchange = self.exchange, None
        reader = self.reader
        if reader is None:
            self._judge()
            return
        try:
            rest = reader.close()
        except EngineFault as fault:
            if exchange is not None:
                exchange.distrust()
            self.request.failed(fault)
            return
        way = self.way
        backend = way.backend
        if not backend.breaker.calm or backend.cannot_load:
            backend.succeeded(way.model, self.trial)
        self.request.succeeded(reader, rest)

    def lost(self, fault: EngineFault) -> None:
        """The engine went away. Whatever it does after it has said everything is of no interest."""
        self.exchange = None
        if self.reader is not None and self.reader.finished:
            self.complete()
        else:
            self.request.failed(fault)

    # ── the answer ───────────────────────────────────────────────────────────────────────────────────────────────────

    def begin(self, reader: Reader) -> None:
        """There is content: from here on it is this engine's answer."""
        self.begun = True
        if self.trial:
            # It speaks again: nobody need wait for the end of a long answer to learn that.
            self.way.backend.succeeded(self.way.model, self.trial)
        held, self._held = self._held, ()
        self.request.begin(reader, b"".join(held))

    def _relay(self, piece: bytes, before: int) -> None:
        request = self.request
        last = request.timing.last
        if last != before:
            self.way.series.inter_token.observe((last - before) / 1e9)
        else:
            self.heard = time.monotonic_ns()
        if piece and request.client is not None:
            request.client.write(piece)

    def silent_since(self) -> float:
        """Monotonic seconds when the engine of a begun stream last said anything."""
        return max(self.heard, self.request.timing.last) / 1e9

    def _hold(self, piece: bytes, reader: Reader) -> None:
        """Nothing is sent before there is content, so that another backend may still answer."""
        if piece:
            self._held = (*self._held, piece)
            self._size += len(piece)
        if reader.content:
            self.begin(reader)
        elif self._size > HELD:
            self.request.failed(BrokenAnswer(f"{HELD} bytes of a stream came without any content."))

    def _count(self, size: int) -> None:
        self._size += size
        limit = self.request.line.limits.answer
        if self._size > limit:
            self.request.failed(BrokenAnswer(f"The answer passes the limit of {limit} bytes."))

    # ── an error of the engine ───────────────────────────────────────────────────────────────────────────────────────

    def _collect_error(self, data: bytes) -> None:
        refused = self._refused
        if refused is not None and not refused.coded and len(refused.body) < answer.ERROR_LIMIT:
            refused.body += data

    def _judge(self) -> None:
        """The engine answered with an error status; find out whose fault it is."""
        refused, request, way = self._refused, self.request, self.way
        if refused is None:
            return
        backend = way.backend
        message = refusal.message_of(refused.body)
        fault = answer.fault_of(refused.status, message, backend.name, refused.retry_after)
        if fault is None and request.fallback:
            fault = answer.misfit(message, refused.status)
        if fault is None:
            if not backend.breaker.calm:
                backend.succeeded("", self.trial)
            body = refusal.translated(request.call.face, backend.wire, refused.status, refused.body)
            request.passed(refused.status, body)
            return
        if isinstance(fault, NotLoaded):
            backend.suspect(way.model)
        if answer.cannot_load(message):
            backend.cannot_load[way.model] = message
        request.failed(fault)

    def _named(self, options: tuple[str, ...]) -> bytes:
        # names that a client made up: they stand in a header line, and become labels that are kept
        named = [_PLAIN.sub("?", option[:OPTION_LENGTH]) for option in options[:OPTIONS_NAMED]]
        line = self.request.line
        for option in named:
            line.metrics.count("penstock_options_dropped", line.option_label(option), self.way.backend.kind.value)
        return ", ".join(named).encode("ascii")
