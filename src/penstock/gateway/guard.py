"""Bounds on what a client may send before anything is decided, for both lanes: size and time of a request head.

The only file besides lane.py that touches uvicorn's protocol class. uvicorn itself bounds neither the size of a head
nor the time it may take.
"""

from __future__ import annotations

import time
from typing import ClassVar

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from penstock.errors import BadRequest, HeadersTooLarge, PenstockError
from penstock.gateway.line import Line
from penstock.protocols import refusal
from penstock.protocols.table import face_of

NEVER = float("inf")


class Guard(HttpToolsProtocol):
    """uvicorn's HTTP protocol with limits on heads, idle connections and uploads."""

    line: ClassVar[Line]
    deadline = NEVER
    idle_since: float | None = None
    """When the last answer was complete; None while there is something to answer."""
    _head_size = 0
    """Bytes received since the head began: a bound while it is incomplete."""
    _in_head = True

    def connection_made(self, transport) -> None:  # type: ignore[no-untyped-def] # noqa: ANN001 - uvicorn narrows it
        """A new connection has as long for its first head as an idle one for its next."""
        super().connection_made(transport)
        now = self.idle_since = time.monotonic()
        self.deadline = now + self.line.limits.head
        self._head_size = 0
        self._in_head = True

    def data_received(self, data: bytes) -> None:
        """Feed the parser; a head over the limit or without sense is refused."""
        self.idle_since = None
        if self._in_head:
            if not self._head_size:
                self.deadline = time.monotonic() + self.line.limits.head
            self._head_size += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._malformed(error)
            return
        except httptools.HttpParserUpgrade:
            self.refuse_connection(BadRequest("Upgrading the connection: no other protocol is spoken here."))
            return
        if self._in_head and self._head_size > self.line.limits.headers:
            self.refuse_connection(self._too_large())

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header, kept as uvicorn keeps it."""
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self.head_complete()
        self.expect_100_continue = any(
            name == b"expect" and value.lower() == b"100-continue" for name, value in self.headers
        )
        super().on_headers_complete()

    def head_complete(self) -> None:
        """From here on the body has its own time."""
        size, self._head_size = self._head_size, 0
        self._in_head = False
        limit = self.line.limits.headers
        # What was received may hold a piece of the body too; the lines themselves are only added up where it matters.
        if size > limit and len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers) > limit:
            raise self._too_large()
        self.deadline = time.monotonic() + self.line.limits.upload

    def on_message_complete(self) -> None:
        """The request is whole; what follows is the next head."""
        self._in_head = True
        self.deadline = NEVER
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Wait for the next request, but not for ever."""
        self.rest()
        super().on_response_complete()
        # The deadline above is ours; uvicorn's own timer would be a second one.
        self._unset_keepalive_if_required()

    def rest(self) -> None:
        """Nothing to answer: the connection may wait for its next request."""
        self.idle_since = time.monotonic()
        self.deadline = self.idle_since + self.line.limits.idle

    def expire(self) -> None:
        """The deadline passed: nothing useful is coming."""
        self.deadline = NEVER
        if not self.transport.is_closing():
            self.transport.close()

    def refuse_connection(self, error: PenstockError) -> None:
        """Answer what cannot be a request, and close: nothing after it can be trusted to begin where it seems to."""
        if self.transport.is_closing():
            return
        body = refusal.body(face_of(self._url().decode("latin-1")), error)
        self.transport.write(
            b"".join(
                (
                    STATUS_LINE[error.status], b"content-type: application/json\r\ncontent-length: %d\r\n" % len(body),
                    b"x-penstock-request-id: ", self.line.request_id({}), b"\r\nconnection: close\r\n\r\n", body,
                )
            )
        )  # fmt: skip
        self.line.metrics.count("penstock_refused", error.code)
        self.transport.close()

    def _url(self) -> bytes:
        return getattr(self, "url", b"")

    def _malformed(self, error: httptools.HttpParserError) -> None:
        cause = error.__context__
        if isinstance(error, httptools.HttpParserCallbackError) and isinstance(cause, PenstockError):
            self.refuse_connection(cause)
        elif isinstance(error, httptools.HttpParserCallbackError):
            self.transport.abort()
            raise error
        else:
            self.refuse_connection(BadRequest(f"Reading the request: not well-formed HTTP ({error})."))

    def _too_large(self) -> HeadersTooLarge:
        return HeadersTooLarge(f"Reading the request: its head passes the limit of {self.line.limits.headers} bytes.")
