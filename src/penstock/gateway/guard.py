"""Bounds on what a client may send before anything is decided, for both lanes: size and time of a request head.

The only file besides lane.py that touches uvicorn's protocol class. uvicorn itself bounds neither the size of a head
nor the time it may take.
"""

from __future__ import annotations

import time
from typing import Any, ClassVar

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from penstock.errors import BadRequest, HeadersTooLarge, PenstockError
from penstock.gateway.line import Line
from penstock.gateway.peer_certificate import PeerCertificate, presented
from penstock.gateway.taken import owed
from penstock.protocols import refusal
from penstock.protocols.table import face_of

NEVER = float("inf")
AHEAD = 8
"""Parsed requests that may wait behind the one being answered."""
_FRAMING = frozenset({b"content-length", b"transfer-encoding"})


def too_far_ahead() -> BadRequest:
    """Nothing behind the last one that may wait is answered: its client cannot know what became of it, and shall."""
    message = f"Reading the request: {AHEAD} sent before it on this connection wait already."
    return BadRequest(message, hint="Wait for answers, or open more connections.")


class Guard(HttpToolsProtocol):
    """uvicorn's HTTP protocol with limits on heads, idle connections and uploads."""

    # uvicorn's own attributes fill the keys that instances of a class share: with ours among them every connection would pay
    # 1.3 KB for a table of its own.
    __slots__ = (
        "_final", "_head_size", "_in_head", "_serving", "_stuck", "_unsent", "between", "deadline", "idle_since",
    )  # fmt: skip

    line: ClassVar[Line]

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - uvicorn's
        super().__init__(*args, **kwargs)
        self.deadline = NEVER
        self.idle_since: float | None = None
        """When the last answer was complete; None while there is something to answer."""
        self._head_size = 0
        """Bytes received since the head began: a bound while it is incomplete."""
        self._in_head = True
        self.between = True
        """The parser stands between two requests: nothing of the next one has come."""
        self._unsent = 0
        """Bytes that waited for the client when it was looked at last."""
        self._stuck = NEVER
        """Until when the client has to take something of what waits for it; infinity while little does."""
        self._serving: RequestResponseCycle | None = None
        """What uvicorn answers now; its own `cycle` is the newest, which may wait behind this one."""
        self._final: tuple[PenstockError, bytes] | None = None
        """A refusal, and the target it is about, that ends the connection once all before it is answered."""

    def connection_made(self, transport) -> None:  # type: ignore[no-untyped-def] # noqa: ANN001 - uvicorn narrows it
        """A new connection has as long for its first head as an idle one for its next."""
        if not self.line.room.takes(transport):
            self.line.room.turn_away(transport, self.line)
            return
        super().connection_made(transport)
        now = self.idle_since = time.monotonic()
        self.deadline = now + self.line.limits.head

    def data_received(self, data: bytes) -> None:
        """Feed the parser; a head over the limit or without sense is refused."""
        self.idle_since = None
        if self._in_head:
            if not self._head_size:
                self.deadline = time.monotonic() + self.line.limits.head
            self._head_size += len(data)
        try:
            self._feed(data)
        except httptools.HttpParserError as error:
            self._malformed(error)
            return
        if self._in_head and self._head_size > self.line.limits.headers:
            self.refuse_connection(self._too_large())

    def _feed(self, data: bytes) -> None:
        """Parse; an offer to upgrade, as Java's clients make with their first request, is not taken up."""
        while data:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as offer:
                if self.parser.get_method() == b"CONNECT":
                    self.refuse_connection(BadRequest("Opening a tunnel: no other protocol is spoken here."))
                    return
                data = data[offer.args[0] :]
            else:
                return

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        self.between = False
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header, kept as uvicorn keeps it."""
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self.head_complete()
        self.expect_100_continue = any(
            name == b"expect" and value.lower() == b"100-continue" for name, value in self.headers
        )
        if len(self.pipeline) >= AHEAD:
            # One read may hold a thousand of them, and uvicorn makes an object of each.
            raise too_far_ahead()
        super().on_headers_complete()
        if self.line.certified:
            self.scope["penstock.certificate"] = self.certificate()  # type: ignore[typeddict-unknown-key]
        if not self.pipeline:
            self._serving = self.cycle
            if self.line.draining:
                # Who asks again and again, a probe for one, would never be idle for long enough to be closed.
                self.cycle.keep_alive = False
        else:
            # uvicorn stops reading behind a request sent ahead, and would not see the client leave.
            self.flow.resume_reading()

    def head_complete(self) -> None:
        """From here on the body has its own time."""
        size, self._head_size = self._head_size, 0
        self._in_head = False
        limit = self.line.limits.headers
        # What was received may hold a piece of the body too; the lines themselves are only added up where it matters.
        if size > limit and len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers) > limit:
            raise self._too_large()
        if self.parser.should_upgrade() and any(name in _FRAMING for name, _ in self.headers):
            # The parser takes what follows such a head for the other protocol, and would read the body as a request.
            raise BadRequest("Upgrading the connection: no other protocol is spoken here.", hint="Ask with HTTP/1.1.")
        self.deadline = time.monotonic() + self.line.limits.upload

    def on_message_complete(self) -> None:
        """The request is whole; what follows is the next head."""
        self.between = True
        self._in_head = True
        self.deadline = NEVER
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Wait for the next request, but not for ever."""
        self.rest()
        self._serving = self.pipeline[-1][0] if self.pipeline else None
        super().on_response_complete()
        # The deadline above is ours; uvicorn's own timer would be a second one.
        self._unset_keepalive_if_required()
        if self._serving is not None:
            # What was sent ahead of this end may have come in half: it has its own time from now on.
            self.deadline = time.monotonic() + self.line.limits.upload if self._serving.more_body else NEVER
            self.idle_since = None
        self.say_final()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone: whoever answers it learns of it, and what waited behind is never begun."""
        if self._serving is not None:
            self._serving.disconnected = True
            self._serving.message_event.set()
        self.pipeline.clear()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The client reads slowly: as long as it takes something now and then its answer waits for it."""
        super().pause_writing()
        self._unsent = owed(self.transport)
        self._stuck = time.monotonic() + self.line.limits.idle
        self.deadline = min(self.deadline, self._stuck)

    def resume_writing(self) -> None:
        """It has caught up."""
        super().resume_writing()
        self._stuck = NEVER

    def certificate(self) -> PeerCertificate | None:
        """Who the client says it is by a verified certificate; asked once for a head, and never where none can be shown."""
        return presented(self.transport) if self.line.certified else None

    def busy(self) -> bool:
        """Whether a whole request is being answered, or waits for it."""
        cycle: RequestResponseCycle | None = self.cycle  # uvicorn's annotation forgets that it begins as None
        return bool(self.pipeline) or (cycle is not None and not cycle.more_body and not cycle.response_complete)

    def answering(self) -> bool:
        """Whether a whole request is being answered now."""
        cycle = self._serving
        return cycle is not None and not cycle.more_body and not cycle.response_complete

    def reading(self) -> bool:
        """Whether a request has begun to come in and is not whole."""
        return not self.between

    def rest(self) -> None:
        """Nothing to answer: the connection may wait for its next request."""
        self.idle_since = time.monotonic()
        self.deadline = self.idle_since + self.line.limits.idle

    def expire(self) -> None:
        """The deadline passed: nothing useful is coming. What is unsent may go as long as the client takes some of it."""
        if self.answering() and not self.transport.is_closing():
            # What the client sends ahead takes its time, but the answer before it has limits of its own.
            self.deadline = self._stuck
            if self._stuck > time.monotonic() or self._takes_some():
                return
            # An engine stands still for it, in a slot that others wait for.
            self.transport.abort()
            return
        unsent = self.transport.get_write_buffer_size()
        if not self.transport.is_closing():
            self.transport.close()
        elif unsent >= self._unsent:
            self.transport.abort()
        self._unsent = unsent
        self.deadline = time.monotonic() + self.line.limits.idle

    def _takes_some(self) -> bool:
        """Whether it has taken anything since the last look; it then has as long again."""
        before, self._unsent = self._unsent, owed(self.transport)
        if self._unsent >= before:
            return False
        self.deadline = self._stuck = time.monotonic() + self.line.limits.idle
        return True

    def refuse_connection(self, error: PenstockError) -> None:
        """Refuse and close, after the answers to what came before."""
        if self._final is None:
            # Without where it was raised: those frames know this connection, and both would wait for the collector.
            self._final = (error.with_traceback(None), self._url())
        self.say_final()

    def say_final(self) -> None:
        """Answer what cannot be a request, and close: nothing after it can be trusted to begin where it seems to."""
        if self._final is None or self.busy() or self.transport.is_closing():
            return
        error, url = self._final
        body = refusal.body(face_of(url.decode("latin-1")), error)
        again = b"" if error.retry_after is None else b"retry-after: %d\r\n" % error.retry_after
        self.transport.write(
            b"".join(
                (
                    STATUS_LINE[error.status], b"content-type: application/json\r\ncontent-length: %d\r\n" % len(body), again,
                    b"x-penstock-request-id: ", self.line.request_id({}), b"\r\nconnection: close\r\n\r\n", body,
                )
            )
        )  # fmt: skip
        self.line.metrics.count("penstock_refused", error.code)
        self.rest()
        self.transport.close()

    def _url(self) -> bytes:
        return getattr(self, "url", b"")

    def _malformed(self, error: httptools.HttpParserError) -> None:
        if self._final is not None:
            return  # nothing behind what was refused is read
        cause = error.__context__
        if isinstance(error, httptools.HttpParserCallbackError) and isinstance(cause, PenstockError):
            self.refuse_connection(cause)
        elif isinstance(cause, httptools.HttpParserInvalidURLError | UnicodeDecodeError):
            self.refuse_connection(BadRequest(f"Reading the request: its target {self._url()[:100]!r} is not a path."))
        elif isinstance(error, httptools.HttpParserCallbackError):
            self.transport.abort()
            raise error
        else:
            self.refuse_connection(BadRequest(f"Reading the request: not well-formed HTTP ({error})."))

    def _too_large(self) -> HeadersTooLarge:
        return HeadersTooLarge(f"Reading the request: its head passes the limit of {self.line.limits.headers} bytes.")
