"""The HTTP/1.1 client that measures: the clock is read when bytes arrive, before anything is done with them.

Why not a library: an event of a stream costs httpx2 a multiple of what it costs here, and that time would be measured as the
engine's (`python -m bench.reading` tells how much). Parsing is httptools' business, TLS is asyncio's. No JSON and no statistics here.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import ssl
import time
from typing import Final, Protocol, cast
from urllib.parse import urlsplit

import httptools

from penstock.address import url_address
from penstock.errors import BrokenAnswer, ConfigError, EngineTimeout, PenstockError, Unreachable

CONNECT: Final = 5.0
IDLE: Final = 4.0
"""Seconds after which a connection is not used again: vLLM drops idle ones after five."""


class Listener(Protocol):
    """Who hears an answer; times are nanoseconds of `time.perf_counter_ns`."""

    def sent(self, at: int) -> None:
        """The request goes out now; said again when it goes out on another connection."""
        ...

    def head(self, status: int, headers: dict[str, str]) -> None: ...

    def received(self, data: bytes, at: int) -> None:
        """Bytes of the body; may raise an `EngineFault`, which ends the request."""
        ...

    def complete(self, at: int) -> None:
        """The body ended as its framing promised."""
        ...


class Link(asyncio.Protocol):
    """One connection that carries one request at a time."""

    def __init__(self) -> None:
        self.heard = False
        """Whether anything came back for the request that is under way."""
        self.idle_since = 0.0
        self._transport: asyncio.Transport | None = None
        self._parser: httptools.HttpResponseParser | None = None
        self._listener: Listener | None = None
        self._done: asyncio.Future[None] | None = None
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._began = self._ended = self._keeps = False

    @property
    def open(self) -> bool:
        """Whether another request may go out on it."""
        return self._transport is not None and not self._transport.is_closing() and self._keeps

    async def ask(self, message: bytes, listener: Listener) -> None:
        """Return when the answer is complete; leaving early closes the connection, and so ends the engine's work."""
        if self._transport is None:
            raise Unreachable("the connection is gone")
        self._parser, self._listener = httptools.HttpResponseParser(self), listener
        self._headers, self._body = {}, []
        self.heard = self._began = self._ended = self._keeps = False
        self._done = asyncio.get_running_loop().create_future()
        listener.sent(time.perf_counter_ns())
        self._transport.write(message)
        try:
            await self._done
        finally:
            if not self._ended:
                self.close()

    def close(self) -> None:
        """At once, with whatever was under way."""
        if self._transport is not None:
            self._transport.abort()

    # asyncio's protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Open."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none of asyncio's classes

    def data_received(self, data: bytes) -> None:
        """Parse, then pass on with the time of arrival."""
        at = time.perf_counter_ns()
        listener = self._listener
        if self._parser is None or listener is None or self._done is None or self._done.done():
            self.close()  # bytes that nobody asked for
            return
        self.heard = True
        try:
            self._parser.feed_data(data)
            if self._body:
                piece = b"".join(self._body)
                self._body.clear()
                listener.received(piece, at)
            if self._ended:
                listener.complete(at)
                self._done.set_result(None)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(BrokenAnswer(f"the answer is no HTTP: {error}"))
        except PenstockError as error:
            self._fail(error)

    def connection_lost(self, exc: Exception | None) -> None:
        """Whatever was under way is lost with it."""
        at = time.perf_counter_ns()
        self._transport = None
        if self._done is None or self._done.done() or self._listener is None:
            return
        if exc is None and self._began and self._until_closed():
            try:
                self._listener.complete(at)
            except PenstockError as error:
                self._done.set_exception(error)
            else:
                self._ended = True
                self._done.set_result(None)
            return
        cause = str(exc) if exc else "closed by the other side"
        if self.heard:
            self._done.set_exception(BrokenAnswer(f"the answer broke off ({cause})"))
        else:
            self._done.set_exception(Unreachable(f"the connection was lost before an answer ({cause})"))

    def _until_closed(self) -> bool:
        """Whether the answer is one that ends with its connection, as HTTP/1.0 has them."""
        return "content-length" not in self._headers and "transfer-encoding" not in self._headers

    def _fail(self, error: PenstockError) -> None:
        self._ended = False
        if self._done is not None and not self._done.done():
            self._done.set_exception(error)
        self.close()

    # httptools' callbacks

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header of the answer."""
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """The head; interim answers (1xx) are passed over."""
        if self._parser is None or self._listener is None:
            return
        status = self._parser.get_status_code()
        if status >= 200:
            self._began = True
            self._listener.head(status, self._headers)

    def on_body(self, body: bytes) -> None:
        """Bytes without their framing."""
        self._body.append(body)

    def on_message_complete(self) -> None:
        """The end of the answer."""
        if self._parser is not None and self._began:
            self._ended = True
            self._keeps = bool(self._parser.should_keep_alive())


class Origin:
    """One server and the connections to it that are kept between requests."""

    def __init__(self, url: str, key: str = "") -> None:
        self.url = url
        parts = urlsplit(url)
        self._address = url_address(url)
        self._prefix = parts.path.rstrip("/")
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        if not key.isprintable():
            raise ConfigError(f"Asking {url}: its key holds characters that no header may hold.", hint="Set it again.")
        authorization = f"authorization: Bearer {key}\r\n" if key else ""
        self._headers = f"host: {parts.netloc}\r\naccept: */*\r\nuser-agent: penstock-bench\r\n{authorization}"
        self._idle: list[Link] = []

    async def ask(self, method: str, path: str, body: bytes, listener: Listener, limit: float) -> None:
        """One request within `limit` seconds; an `EngineFault` says why there is no whole answer."""
        kind = "content-type: application/json\r\n" if body else ""
        head = f"{method} {self._prefix}{path} HTTP/1.1\r\n{self._headers}{kind}content-length: {len(body)}\r\n\r\n"
        message = head.encode() + body
        try:
            async with asyncio.timeout(limit):
                await self._ask(message, listener)
        except TimeoutError:
            raise EngineTimeout(f"no whole answer within {limit:g} s") from None

    def close(self) -> None:
        """Every connection that is kept."""
        while self._idle:
            self._idle.pop().close()

    async def _ask(self, message: bytes, listener: Listener) -> None:
        while True:
            link = self._kept()
            reused = link is not None
            link = link or await self._connected()
            try:
                await link.ask(message, listener)
            except Unreachable:
                # The server closed an idle connection just when it was to be used again: no fault of either side.
                if reused and not link.heard:
                    continue
                raise
            if link.open:
                link.idle_since = time.monotonic()
                self._idle.append(link)
            else:
                link.close()
            return

    def _kept(self) -> Link | None:
        oldest = time.monotonic() - IDLE
        while self._idle:
            link = self._idle.pop()
            if link.open and link.idle_since > oldest:
                return link
            link.close()
        return None

    async def _connected(self) -> Link:
        host, port = self._address
        try:
            async with asyncio.timeout(CONNECT):
                _, link = await asyncio.get_running_loop().create_connection(Link, host, port, ssl=self._tls)
        except TimeoutError:
            raise Unreachable(f"no connection within {CONNECT:g} s") from None
        except ssl.SSLCertVerificationError as distrusted:
            raise ConfigError(
                f"Asking {self.url}: its certificate is not trusted here, {distrusted.verify_message}.",
                hint="Name the certificate, or the one that signed it: SSL_CERT_FILE=cert.pem penstock …",
            ) from None
        except OSError as error:
            raise Unreachable(_reason(error)) from None
        return link


def _reason(error: OSError) -> str:
    """`connection refused`: asyncio's own words name the address instead."""
    number = error.errno or next(map(int, re.findall(r"Errno (\d+)", str(error))), 0)
    if number > 0 and not isinstance(error, socket.gaierror):
        return os.strerror(number).lower()
    return (error.strerror or str(error)).lower()


class Collected:
    """A listener for small whole answers."""

    LIMIT: Final = 16 * 2**20

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = bytearray()

    def sent(self, at: int) -> None:
        """Nothing is timed here."""

    def head(self, status: int, headers: dict[str, str]) -> None:
        """What came first."""
        self.status, self.headers = status, headers

    def received(self, data: bytes, at: int) -> None:
        """More of the body, up to `LIMIT`."""
        del at
        self.body += data
        if len(self.body) > self.LIMIT:
            raise BrokenAnswer(f"the answer passes {self.LIMIT} bytes")

    def complete(self, at: int) -> None:
        """Nothing is timed here."""


async def get(origin: Origin, path: str, limit: float) -> Collected:
    """A whole answer, whatever its status."""
    collected = Collected()
    await origin.ask("GET", path, b"", collected, limit)
    return collected
