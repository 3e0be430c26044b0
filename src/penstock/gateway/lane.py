"""The hot lane: model routes answered inside uvicorn's protocol class, without an ASGI task per request.

Everything else, and every oddity, goes the ordinary way through uvicorn to the application. One request is answered
at a time; requests that a client sent ahead (pipelining) wait, parsed, in order, and never share any state.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from penstock.errors import PenstockError, TooLarge
from penstock.gateway.auth import Keyring
from penstock.gateway.client import Headers
from penstock.gateway.guard import AHEAD, NEVER, Guard, too_far_ahead
from penstock.gateway.known_head import KnownHead, learn
from penstock.gateway.line import wanted
from penstock.gateway.request import Request
from penstock.protocols.table import ROUTES, Route
from penstock.types import Caller

LESSONS = 4
"""Heads learnt from one connection; a client that changes more in them than their length is not worth more."""


class Seen(msgspec.Struct, frozen=True):
    """What a request head said, and who was found to send it."""

    route: Route
    headers: Mapping[bytes, bytes]
    caller: Caller
    keyring: Keyring
    """Made anew with every configuration and every change of a key: what was allowed under another one is asked again."""
    until: float
    """Wall time at which what the head shows ceases to be valid."""


class Parsed(msgspec.Struct):
    """A request whose body may still be coming."""

    request: Request | None
    keep_alive: bool
    chunked: bool
    """Whether the client understands chunked answers (HTTP/1.1)."""
    refusal: PenstockError | None = None
    size: int = 0
    body: list[bytes] = []


class HotLane(Guard):
    """One client connection; the `Client` of the request it is answering."""

    __slots__ = (
        "_ahead", "_current", "_fresh", "_head", "_hot", "_known", "_last_one", "_lesson", "_lessons", "_reading", "_repeated",
    )  # fmt: skip

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - uvicorn's
        super().__init__(*args, **kwargs)
        self._hot = False
        self._reading: Parsed | None = None
        self._current: Parsed | None = None
        self._ahead: tuple[Parsed, ...] = ()
        self._head = b""
        self._last_one = False
        self._fresh = True
        """The next byte begins a request, and nothing is being answered."""
        self._known: KnownHead[Seen] | None = None
        self._repeated: Parsed
        """Stands for every request whose head was known: one at a time is answered."""
        self._lessons = LESSONS
        self._lesson: tuple[int, Seen] | None = None
        """Size of the body and head of the request just parsed, if it may come again."""

    def data_received(self, data: bytes) -> None:
        """The same head as before needs no parsing; everything else goes to the parser."""
        fresh, known = self._fresh, self._known
        if fresh and known is not None:
            body = known.body(data)
            seen = known.found
            if (
                body is not None
                and len(body) <= self.line.limits.body
                and seen.keyring is self.line.keyring
                and (seen.until == NEVER or time.time() < seen.until)
            ):
                self._again(seen, body)
                return
        super().data_received(data)
        if self._lesson is not None:
            (size, lesson), self._lesson = self._lesson, None
            if fresh:
                self._lessons -= 1
                self._known = learn(data, size, lesson)
                # keep-alive and HTTP/1.1, or there would have been no lesson
                self._repeated = Parsed(None, keep_alive=True, chunked=True)

    def _again(self, seen: Seen, body: bytes) -> None:
        """One whole request, and nothing behind it, on a connection that waited for it."""
        self._fresh = False
        self.idle_since = None
        self.deadline = NEVER
        line = self.line
        request = Request(line, seen.route, seen.headers, line.request_id(seen.headers), seen.caller)
        current = self._current = self._repeated
        current.request = request
        request.start(body, self)

    # ── httptools ────────────────────────────────────────────────────────────────────────────────────────────────────

    def on_message_begin(self) -> None:
        """Only what deciding needs; uvicorn's own scope is made when the request turns out to be for it."""
        self._fresh = self.between = False
        self.url = b""
        self.headers = []

    def on_url(self, url: bytes) -> None:
        """The target, in one piece or several."""
        self.url = self.url + url if self.url else url

    def on_headers_complete(self) -> None:
        """Hot or not: by path and method alone."""
        route = ROUTES.get(self.url.partition(b"?")[0]) if self.parser.get_method() == b"POST" else None
        self._hot = route is not None
        if route is None:
            self._cold()
            return
        self.head_complete()
        parsed = self._reading = Parsed(None, keep_alive=True, chunked=self.parser.get_http_version() == "1.1", body=[])
        headers = wanted(self.headers)
        self.headers = []  # a long answer does not keep the others
        try:
            parsed.request = self.line.open(route, headers, self.certificate())
            self._check_length(headers.get(b"content-length"))
        except PenstockError as error:
            self._refuse_unread(parsed, route.path, error)
            return
        if b"expect" in headers and headers[b"expect"].lower() == b"100-continue" and not self.busy():
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """Collect, within the limit."""
        parsed = self._reading
        if not self._hot:
            super().on_body(body)
        elif parsed is not None and parsed.refusal is None:
            parsed.size += len(body)
            if parsed.size > self.line.limits.body:
                self._refuse_unread(parsed, self.url.decode("latin-1"), self._too_long())
                return
            parsed.body.append(body)

    def on_message_complete(self) -> None:
        """The request is whole: answer it now, or after those before it."""
        self.between = True
        if not self._hot:
            super().on_message_complete()
            return
        self._in_head = True
        parsed, self._reading = self._reading, None
        if parsed is None or self._last_one:
            return
        parsed.keep_alive = self.parser.should_keep_alive() and parsed.chunked
        request = parsed.request
        if self._lessons and parsed.keep_alive and request is not None:
            caller = request.caller
            self._lesson = (parsed.size, Seen(request.route, request.headers, caller, self.line.keyring, caller.until))
        if not self.busy() and not self.flow.write_paused:
            self._begin(parsed)
        elif len(self._ahead) < AHEAD:
            self._ahead = (*self._ahead, parsed)
        else:
            self.refuse_connection(too_far_ahead())

    def _cold(self) -> None:
        if self._current is not None or self._ahead:
            # Sent ahead of an answer from the hot lane; the two ways of answering could not keep the order.
            self._last_one = True
        if self._last_one:
            self._hot = True
            self._reading = None
            return
        url, headers = self.url, self.headers
        super().on_message_begin()
        self.url = url
        self.headers.extend(headers)
        super().on_headers_complete()

    def _check_length(self, length: bytes | None) -> None:
        if length is not None and int(length) > self.line.limits.body:
            raise self._too_long()

    def _too_long(self) -> TooLarge:
        limit = self.line.limits.body
        return TooLarge(
            f"Reading the request: its body passes the limit of {limit} bytes.", hint="limits.body sets it."
        )

    def _refuse_unread(self, parsed: Parsed, path: str, error: PenstockError) -> None:
        """Refuse before the body is read: nothing after it on this connection can be told from it."""
        parsed.refusal = error
        parsed.body.clear()
        self.url = path.encode("latin-1", "replace")
        self.refuse_connection(error)

    # ── one request at a time ────────────────────────────────────────────────────────────────────────────────────────

    def _begin(self, parsed: Parsed) -> None:
        self._current = parsed
        self.deadline = NEVER
        request = parsed.request
        if request is None:
            self._done()
            return
        body = parsed.body[0] if len(parsed.body) == 1 else b"".join(parsed.body)
        parsed.body = []
        request.start(body, self)

    def _begin_next(self) -> None:
        if self.flow.write_paused:
            # The client has not taken its last answer yet: the next one would pile up behind it without a bound.
            self.rest()
            return
        first, self._ahead = self._ahead[0], self._ahead[1:]
        self._begin(first)

    def _done(self) -> None:
        parsed, self._current = self._current, None
        self.server_state.total_requests += 1
        if parsed is not None:
            parsed.request = None  # a connection that waits for its next request does not keep the last one
        if parsed is None or not parsed.keep_alive:
            self.rest()
            self.transport.close()
        elif self._ahead:
            self._begin_next()
        elif self._final is not None:
            self.say_final()
        else:
            self.rest()
            if self._last_one or self.line.draining:
                self.transport.close()
            elif self.between and not self.flow.write_paused:
                self._fresh = True

    def refuse_connection(self, error: PenstockError) -> None:
        """Refuse and close, after the answers to what came before."""
        self._last_one = True
        super().refuse_connection(error)

    def busy(self) -> bool:
        """Whether either lane has something to answer."""
        return self._current is not None or bool(self._ahead) or super().busy()

    def answering(self) -> bool:
        """Whether either lane answers now."""
        return self._current is not None or super().answering()

    def on_response_complete(self) -> None:
        """A cold answer is complete; requests sent ahead of it may follow."""
        super().on_response_complete()
        if self._ahead and self._current is None and not super().busy():
            self._begin_next()

    # ── request.Client ───────────────────────────────────────────────────────────────────────────────────────────────

    def answer(self, status: int, headers: Headers, body: bytes) -> None:
        """A whole answer in one write."""
        transport = self.transport
        if not transport.is_closing():
            end = (
                b"content-length: %d\r\nconnection: close\r\n\r\n" if self._closing() else b"content-length: %d\r\n\r\n"
            )
            transport.write(b"".join((STATUS_LINE[status], *headers, end % len(body), body)))
        self._done()

    def begin(self, status: int, headers: Headers) -> None:
        """Keep the head for the first piece: one packet instead of two."""
        parsed = self._current
        framing = b"transfer-encoding: chunked\r\n" if parsed is not None and parsed.chunked else b""
        end = b"connection: close\r\n\r\n" if self._closing() or not framing else b"\r\n"
        self._head = b"".join((STATUS_LINE[status], *headers, framing, end))

    def write(self, data: bytes) -> None:
        """A piece of a stream."""
        if not data or self.transport.is_closing():
            return
        if self._current is not None and self._current.chunked:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        if self._head:
            data = self._head + data
            self._head = b""
        self.transport.write(data)

    def end(self, data: bytes) -> None:
        """The last piece and the end of the framing."""
        if self._current is not None and self._current.chunked:
            tail = b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data) if data else b"0\r\n\r\n"
        else:
            tail = data
        if not self.transport.is_closing():
            self.transport.write(self._head + tail)
        self._head = b""
        self._done()

    def _closing(self) -> bool:
        parsed = self._current
        if parsed is None or not parsed.keep_alive:
            return True
        return (self._last_one or self.line.draining) and not self._ahead and self._final is None

    # ── transport ────────────────────────────────────────────────────────────────────────────────────────────────────

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone: so is its request."""
        self.deadline = NEVER
        current, self._current = self._current, None
        self._ahead = ()
        self._reading = None
        if current is not None and current.request is not None:
            current.request.leave()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The client reads slowly: let the engine wait. Reading goes on, or its leaving would go unseen."""
        super().pause_writing()
        self._fresh = False
        if self._current is not None and self._current.request is not None:
            self._current.request.pause()

    def resume_writing(self) -> None:
        """It has caught up."""
        super().resume_writing()
        if self._current is not None and self._current.request is not None:
            self._current.request.resume()
        elif self._ahead and self._current is None and not super().busy() and not self.transport.is_closing():
            self._begin_next()

    def shutdown(self) -> None:
        """The server drains: finish what is being answered, close what is idle."""
        # The server's drain closes idle connections itself, a moment later: their clients may be about to send.
