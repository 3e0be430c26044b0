"""One TCP connection to an engine, carrying one exchange at a time, and the only place that reads an engine's HTTP."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING

import httptools

from penstock.errors import BrokenAnswer, EngineFault, Unreachable
from penstock.gateway.tls import why_not

if TYPE_CHECKING:
    from penstock.gateway.upstream import Exchange, Origin

HEAD_LIMIT = 64 * 1024
OK = 200
_NO_BODY = frozenset({204, 304})


class Connection(asyncio.Protocol):
    """One TCP connection carrying one exchange at a time."""

    __slots__ = (
        "_complete", "_exchange", "_framed", "_head", "_headers", "_keep", "_origin", "_parser", "_parts", "_paused",
        "_reused", "_status", "_transport", "idle_since",
    )  # fmt: skip

    _transport: asyncio.Transport

    def __init__(self, origin: Origin) -> None:
        self._origin = origin
        self._exchange: Exchange | None = None
        self._paused = False
        self._reused = False
        self.idle_since = 0
        """The sweep it was put back in."""
        self._parts: list[bytes] = []
        # One parser for the life of the connection: a connection is only kept after an answer that it parsed whole.
        self._parser = httptools.HttpResponseParser(self)

    @property
    def peer(self) -> str:
        """The address at its other end; empty once that is not known any more."""
        name = self._transport.get_extra_info("peername")
        return str(name[0]) if isinstance(name, tuple) else ""

    def usable(self) -> bool:
        """Whether it may carry another request."""
        return not self._transport.is_closing()

    def carry(self, exchange: Exchange) -> None:
        """Send a request and read its answer."""
        self._exchange = exchange
        self._headers: dict[bytes, bytes] = {}
        self._status = 0
        self._head = 0
        self._framed = self._complete = self._keep = False
        self._transport.write(exchange.request)

    def drop(self) -> None:
        """Close now, without waiting for anything to be sent."""
        self._exchange = None
        self._origin.forget(self)
        self._transport.abort()

    def close(self) -> None:
        """The same, and whoever waits for an answer is told."""
        self._fail(Unreachable("its connection was closed: the engine was stopped or taken out"))

    def pause(self) -> None:
        """Stop reading."""
        self._paused = True
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read again."""
        self._paused = False
        if not self._transport.is_closing():
            self._transport.resume_reading()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = transport  # type: ignore[assignment]  # a stream protocol gets a stream transport

    def data_received(self, data: bytes) -> None:
        """Parse; body parts of one read are handed on together."""
        exchange = self._exchange
        if exchange is None:
            self.drop()
            return
        if exchange.request:
            exchange.request = b""  # it can no longer be sent again, so it need not be kept while a long answer comes
            known = self._origin.known
            if known is not None and (body := known.body(data)) is not None:
                self._keep = True
                self._rest()
                exchange.finish_whole(known.found, body)
                return
        if not self._status:
            self._head += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserCallbackError:
            # Not the engine's fault but ours, in a listener: loudly, and this connection is lost.
            self._fail(BrokenAnswer("its answer could not be read: an error of the gateway itself"))
            raise
        except httptools.HttpParserError as error:
            self._fail(BrokenAnswer(f"its answer is not HTTP: {error}"))
            return
        if not self._status and self._head > HEAD_LIMIT:
            self._fail(BrokenAnswer(f"its answer has a head over {HEAD_LIMIT} bytes"))
            return
        listener = exchange.listener
        if self._complete and self._keep and self._status == OK and listener is not None and listener.alike:
            self._origin.learn(data, sum(map(len, self._parts)), self._headers)
        self._deliver()

    def eof_received(self) -> bool:
        """The engine closed its side; an unframed body ends so."""
        if self._exchange is not None and self._status and not self._framed and not self._complete:
            self._complete = True
            self._keep = False
            self._deliver()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever was waiting."""
        self._origin.lost(self)
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            where = "in the middle of its answer" if self._status else "before it answered"
            why = self._why(exc)
            fault = Unreachable(f"it went away {where}: {why}").at(self._origin.url)
            exchange.broke(fault, reused=self._reused)

    def _why(self, exc: Exception | None) -> str:
        if isinstance(exc, ssl.SSLError):
            return why_not(exc)
        why = (exc.strerror if isinstance(exc, OSError) else None) or "the connection closed"
        if not self._status and not self._reused and self._transport.get_extra_info("ssl_object") is not None:
            # In TLS 1.3 that is how we learn of it, and many servers close without the alert that would say so.
            why += ", as by one that wants a certificate of us, or another one"
        return why

    # httptools

    def on_message_begin(self) -> None:
        """A second answer to one request belongs to nobody: it is dropped, and the connection with it."""
        if self._complete:
            self._keep = False
            self._headers = {}

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header; a repeated one keeps its last value, none that we read may repeat."""
        self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        """The head is whole; interim answers are skipped."""
        if self._complete:
            return
        status = self._parser.get_status_code()
        if status < 200:
            self._headers.clear()
            return
        self._status = status
        headers = self._headers
        self._framed = b"content-length" in headers or b"transfer-encoding" in headers or status in _NO_BODY
        exchange = self._exchange
        if exchange is not None and exchange.listener is not None:
            exchange.listener.answered(status, headers)

    def on_body(self, data: bytes) -> None:
        """Collect the parts of one read."""
        if not self._complete:
            self._parts.append(data)

    def on_message_complete(self) -> None:
        """The framing says that the answer is whole; `should_keep_alive` is only right in here."""
        if self._status and not self._complete:
            self._complete = True
            self._keep = self._parser.should_keep_alive()

    # inner

    def _deliver(self) -> None:
        parts = self._parts
        if parts:
            data = parts[0] if len(parts) == 1 else b"".join(parts)
            parts.clear()
            if self._exchange is not None and self._exchange.listener is not None:
                self._exchange.listener.received(data)
        exchange = self._exchange
        if self._complete and exchange is not None:
            self._rest()
            exchange.finish()

    def _rest(self) -> None:
        """The answer is whole: keep the connection for another, if it is fit for one."""
        self._exchange = None
        if self._transport.get_write_buffer_size():
            # Answered before it had read all of the request: it may never read the rest, nor what would follow it.
            self.drop()
        elif self._keep and not self._transport.is_closing():
            if self._paused:
                # The last read may have brought more than the client could take: the next exchange must not inherit that.
                self.resume()
            self._reused = True
            self._origin.keep(self)
        else:
            self._origin.forget(self)
            self._transport.close()

    def _fail(self, fault: EngineFault) -> None:
        exchange, self._exchange = self._exchange, None
        self.drop()
        if exchange is not None:
            exchange.broke(fault.at(self._origin.url), reused=False)
