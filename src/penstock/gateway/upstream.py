"""Connections to one backend: pooled, bounded in time, and free of any opinion about what is asked.

An `Origin` owns the connections to one address. `ask` sends one request and reports to a `Listener`; nothing here
retries but the one case that only this file can see: a pooled connection that the engine had already given up.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from typing import ClassVar, Protocol
from urllib.parse import urlsplit

import httptools

from penstock.errors import BrokenAnswer, EngineFault, Unreachable
from penstock.gateway.known_head import KnownHead, learn

IDLE = 4.0
"""Seconds an unused connection is kept: vLLM closes its own after 5."""
HEAD_LIMIT = 64 * 1024
LEARN_EVERY = 1.0
"""Seconds between two heads learnt from one engine: what changes more often than its clock is not worth it."""
_NO_BODY = frozenset({204, 304})
OK = 200


class Listener(Protocol):
    """Who asked. Callbacks come from the event loop, never from inside `ask` except `lost` of a closed origin."""

    __slots__ = ()

    alike: ClassVar[bool] = False
    """Whether the heads of its answers are worth learning: there will be more of the same."""

    def answered(self, status: int, headers: dict[bytes, bytes]) -> None:
        """The head of the answer has arrived."""

    def received(self, data: bytes) -> None:
        """Body bytes, unframed."""

    def complete(self) -> None:
        """The body ended as its framing promised."""

    def whole(self, headers: dict[bytes, bytes], body: bytes) -> None:
        """Head, body and end of an answer with status 200 at once, instead of the three calls above."""
        self.answered(OK, headers)
        self.received(body)
        self.complete()

    def lost(self, fault: EngineFault) -> None:
        """The answer will not come, or not whole."""


class Exchange:
    """One request on its way through one connection; the handle its listener holds."""

    __slots__ = ("_connection", "_origin", "_paused", "_task", "listener", "request", "retried")

    def __init__(self, origin: Origin, request: bytes, listener: Listener) -> None:
        self._origin = origin
        self._connection: _Connection | None = None
        self._task: asyncio.Task[None] | None = None
        self._paused = False
        self.request = request
        """Kept until the first byte of an answer, to be sent again on another connection if need be."""
        self.listener: Listener | None = listener
        self.retried = False

    def abort(self) -> None:
        """Forget the answer: the engine sees its client leave."""
        self.listener = None
        if self._task is not None:
            self._task.cancel()
            self._task = None
        if self._connection is not None:
            self._connection.drop()
            self._connection = None

    def pause(self) -> None:
        """Stop reading until `resume`: the client is slower than the engine."""
        self._paused = True
        if self._connection is not None:
            self._connection.pause()

    def resume(self) -> None:
        """Read on."""
        self._paused = False
        if self._connection is not None:
            self._connection.resume()

    def ride(self, connection: _Connection) -> None:
        """Go out on this connection."""
        self._connection = connection
        connection.carry(self)
        if self._paused:
            connection.pause()

    def dial(self) -> None:
        """Go out on a new connection."""
        self._connection = None
        self._task = self._origin.loop.create_task(self._dial())

    async def _dial(self) -> None:
        try:
            connection = await self._origin.connect()
        except EngineFault as fault:
            if self.listener is not None:
                listener, self.listener = self.listener, None
                listener.lost(fault)
            return
        finally:
            self._task = None
        if self.listener is None:
            connection.drop()
        else:
            self.ride(connection)

    def broke(self, fault: EngineFault, *, reused: bool) -> None:
        """The connection died; before the first byte of an answer on a reused one, once, that is nobody's fault."""
        self._connection = None
        if self.listener is None:
            return
        if reused and self.request and not self.retried:
            self.retried = True
            self.dial()
            return
        listener, self.listener = self.listener, None
        listener.lost(fault)

    def finish(self) -> None:
        """The connection has delivered everything."""
        self._connection = None
        if self.listener is not None:
            listener, self.listener = self.listener, None
            listener.complete()

    def finish_whole(self, headers: dict[bytes, bytes], body: bytes) -> None:
        """The connection has delivered everything at once."""
        self._connection = None
        if self.listener is not None:
            listener, self.listener = self.listener, None
            listener.whole(headers, body)


class Origin:
    """All connections to one backend address."""

    def __init__(self, url: str, *, connect_timeout: float, loop: asyncio.AbstractEventLoop | None = None) -> None:
        parts = urlsplit(url)
        self.url = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        """As errors name it: without a user and a password."""
        self.host = parts.hostname or "127.0.0.1"
        self.port = parts.port or (443 if parts.scheme == "https" else 80)
        self.prefix = parts.path.rstrip("/")
        self.authority = parts.netloc.rpartition("@")[2]
        self.loop = loop or asyncio.get_running_loop()
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._timeout = connect_timeout
        self.known: KnownHead[dict[bytes, bytes]] | None = None
        """The head of an answer with status 200 that came in one piece, and its headers."""
        self._learnt = 0.0
        self._idle: deque[_Connection] = deque()
        self._open: set[_Connection] = set()
        self._sweep: asyncio.TimerHandle | None = None
        self._round = 0
        """Sweeps so far: how long a connection has been idle is told by them, not by a clock read for every request."""
        self._post_lines: dict[str, bytes] = {}

    def post_line(self, path: str) -> bytes:
        """The request line and the headers that never change; paths come from our own table, so they are few."""
        line = self._post_lines.get(path)
        if line is None:
            text = f"POST {self.prefix}{path} HTTP/1.1\r\nhost: {self.authority}\r\naccept: */*\r\n"
            line = self._post_lines[path] = text.encode()
        return line

    def ask(self, request: bytes, listener: Listener) -> Exchange:
        """Send one request; what becomes of it is told to the listener."""
        exchange = Exchange(self, request, listener)
        idle = self._idle
        while idle:
            connection = idle.pop()
            if connection.usable():
                exchange.ride(connection)
                return exchange
            connection.drop()
        exchange.dial()
        return exchange

    async def connect(self) -> _Connection:
        """A new connection, within the connect limit."""
        try:
            async with asyncio.timeout(self._timeout):
                _, connection = await self.loop.create_connection(
                    lambda: _Connection(self), self.host, self.port, ssl=self._tls
                )
        except TimeoutError:
            msg = f"Connecting to {self.url}: no answer within {self._timeout:g} s"
            raise Unreachable(msg) from None
        except OSError as error:
            msg = f"Connecting to {self.url}: {error.strerror or error}"
            raise Unreachable(msg) from None
        self._open.add(connection)
        return connection

    def learn(self, data: bytes, size: int, headers: dict[bytes, bytes]) -> None:
        """An answer with a head that may come again, for every connection."""
        now = self.loop.time()
        if now - self._learnt > LEARN_EVERY:
            self._learnt = now
            self.known = learn(data, size, headers) or self.known

    def keep(self, connection: _Connection) -> None:
        """Put a connection back for the next request."""
        connection.idle_since = self._round
        self._idle.append(connection)
        if self._sweep is None:
            self._sweep = self.loop.call_later(IDLE / 2, self._expire)

    def forget(self, connection: _Connection) -> None:
        """The connection is closed."""
        self._open.discard(connection)

    def close(self) -> None:
        """Drop every connection."""
        if self._sweep is not None:
            self._sweep.cancel()
        for connection in list(self._open):
            connection.drop()

    def _expire(self) -> None:
        """What was not used since the last sweep has been idle for one to two of them."""
        self._sweep = None
        while self._idle and self._idle[0].idle_since != self._round:
            self._idle.popleft().drop()
        self._round += 1
        if self._idle:
            self._sweep = self.loop.call_later(IDLE / 2, self._expire)


class _Connection(asyncio.Protocol):
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
                self._whole(exchange, known, body)
                return
        if not self._status:
            self._head += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserCallbackError:
            # Not the engine's fault but ours, in a listener: loudly, and this connection is lost.
            self._fail(BrokenAnswer(f"Reading the answer of {self._origin.url}: an error of the gateway itself"))
            raise
        except httptools.HttpParserError as error:
            self._fail(BrokenAnswer(f"Reading the answer of {self._origin.url}: not HTTP ({error})"))
            return
        if not self._status and self._head > HEAD_LIMIT:
            self._fail(BrokenAnswer(f"Reading the answer of {self._origin.url}: a head over {HEAD_LIMIT} bytes"))
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
        self._origin.forget(self)
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            why = (exc.strerror if isinstance(exc, OSError) else None) or "the connection closed"
            where = "in the middle of its answer" if self._status else "before it answered"
            exchange.broke(Unreachable(f"{self._origin.url} went away {where}: {why}"), reused=self._reused)

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

    def _whole(self, exchange: Exchange, known: KnownHead[dict[bytes, bytes]], body: bytes) -> None:
        self._keep = True
        self._rest()
        exchange.finish_whole(known.found, body)

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
            exchange.broke(fault, reused=False)
