"""A raw HTTP/1.1 server on one asyncio protocol: every byte, pause and reset is ours to choose.

It knows sockets and framing, nothing of models. Parsing is httptools'; requests of one connection are answered in order.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections import deque
from collections.abc import Awaitable, Callable
from http import HTTPStatus

import httptools

from penstock.faults.record import Received

_PENDING = 64
"""Pipelined requests one connection may have waiting."""
_BODY = 256 << 20
_RESET = struct.pack("ii", 1, 0)

Head = list[tuple[str, str]]


class Exchange:
    """One request and the right to answer it."""

    def __init__(self, link: Link, request: Received) -> None:
        self._link = link
        self.request = request
        self.begun = False
        self.complete = False
        self.tokens = 0
        self._chunked = False

    async def send(self, status: int, body: bytes, headers: Head, *, length: int | None = None, gap: float = 0) -> None:
        """A whole answer; `length` other than the body's own is a lie told on purpose."""
        framing = ("content-length", str(len(body) if length is None else length))
        await self._head(status, [*headers, framing], gap)
        if self.request.method != "HEAD":
            await self._link.write(body)

    async def begin(self, status: int, headers: Head, *, gap: float = 0) -> None:
        """The head of a streamed answer."""
        self._chunked = self.request.version != "1.0"
        framing = ("transfer-encoding", "chunked") if self._chunked else ("connection", "close")
        await self._head(status, [*headers, framing], gap)

    async def write(self, data: bytes) -> None:
        """One piece of a streamed answer, in a chunk of its own."""
        await self._link.write(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)

    async def verbatim(self, data: bytes) -> None:
        """An answer of whose every byte somebody else has thought."""
        self.begun = True
        await self._link.write(data)

    async def finish(self) -> None:
        """A clean end of a streamed answer."""
        if self._chunked:
            await self._link.write(b"0\r\n\r\n")
        else:
            self._link.close()

    def close(self) -> None:
        """FIN, whatever the framing had promised."""
        self._link.close()

    def reset(self) -> None:
        """RST, whatever the framing had promised."""
        self._link.reset()

    async def forever(self) -> None:
        """Until the client leaves; the server cancels whoever waits here."""
        await asyncio.Event().wait()

    async def _head(self, status: int, headers: Head, gap: float) -> None:
        self.begun = True
        try:
            phrase = HTTPStatus(status).phrase
        except ValueError:
            phrase = "Unknown"
        if self.request.closes and not any(name == "connection" for name, _ in headers):
            headers = [*headers, ("connection", "close")]
        lines = [f"HTTP/1.1 {status} {phrase}", *(f"{name}: {value}" for name, value in headers), "", ""]
        head = "\r\n".join(lines).encode("latin-1")
        if not gap:
            await self._link.write(head)
            return
        for byte in head:
            await asyncio.sleep(gap)
            await self._link.write(bytes((byte,)))


Answer = Callable[[Exchange], Awaitable[None]]
Left = Callable[[Exchange], None]


class Link(asyncio.Protocol):
    """One connection of one client."""

    def __init__(self, server: Server, number: int) -> None:
        self._server = server
        self._number = number
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._target = b""
        self._headers: list[tuple[str, str]] = []
        self._body = bytearray()
        self._waiting: deque[Received] = deque()
        self._arrived = asyncio.Event()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._task: asyncio.Task[None] | None = None
        self.current: Exchange | None = None

    # the socket

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if not isinstance(transport, asyncio.Transport):
            raise TypeError(f"a stream transport was expected, got {type(transport).__name__}")
        self._transport = transport
        self._server.links.add(self)
        self._task = asyncio.get_running_loop().create_task(self._serve())

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.close()
        except httptools.HttpParserError:
            if self._transport is not None:
                self._transport.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the name is asyncio's
        self._server.links.discard(self)
        self._flowing.set()
        exchange = self.current
        if exchange is not None and not exchange.complete:
            self._server.left(exchange)
        if self._task is not None:
            self._task.cancel()

    def pause_writing(self) -> None:
        self._flowing.clear()

    def resume_writing(self) -> None:
        self._flowing.set()

    async def write(self, data: bytes) -> None:
        await self._flowing.wait()
        if self._transport is None or self._transport.is_closing():
            # closing was our own doing, or connection_lost is on its way and will cancel us
            await asyncio.Event().wait()
        else:
            self._transport.write(data)

    def close(self) -> None:
        if self.current is not None:
            self.current.complete = True
        if self._transport is not None:
            self._transport.close()

    def reset(self) -> None:
        if self.current is not None:
            self.current.complete = True
        if self._transport is None:
            return
        raw = self._transport.get_extra_info("socket")
        if raw is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._transport.abort()

    async def ended(self) -> None:
        """Wait for the task that answers here."""
        if self._task is not None:
            await asyncio.wait([self._task])

    # the parser

    def on_message_begin(self) -> None:
        self._target = b""
        self._headers = []
        self._body = bytearray()

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.decode("latin-1").lower(), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        expected = any(name == "expect" for name, _ in self._headers)
        if expected and self._transport is not None:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self._body += body
        if len(self._body) > _BODY:
            self.reset()

    def on_message_complete(self) -> None:
        request = Received(
            number=self._server.count(),
            connection=self._number,
            method=self._parser.get_method().decode(),
            target=self._target.decode("latin-1"),
            version=self._parser.get_http_version(),
            headers=tuple(self._headers),
            body=bytes(self._body),
            at=time.monotonic_ns(),
        )
        self._waiting.append(request)
        if len(self._waiting) > _PENDING:
            self.reset()
        self._arrived.set()

    # answering

    async def _serve(self) -> None:
        while True:
            await self._arrived.wait()
            while self._waiting:
                self.current = Exchange(self, self._waiting.popleft())
                try:
                    await self._server.answer(self.current)
                except Exception as mistake:
                    # Ours, not the script's: whoever waits for the answer sees an end, and whoever stops us sees it.
                    self._server.mistakes.append(mistake)
                    self.reset()
                    raise
                self.current.complete = True
                closes = self.current.request.closes
                self.current = None
                if closes:
                    self.close()
            self._arrived.clear()


class Server:
    """A listener on a free loopback port with everything that hangs on it."""

    def __init__(self, answer: Answer, left: Left) -> None:
        self.answer = answer
        self.left = left
        self.links: set[Link] = set()
        self.accepted = 0
        self.mistakes: list[Exception] = []
        self._requests = 0
        self._listener: asyncio.Server | None = None

    def count(self) -> int:
        self._requests += 1
        return self._requests - 1

    async def start(self, host: str, port: int) -> int:
        """Listen; the port it became."""
        self._listener = await asyncio.get_running_loop().create_server(self._accept, host, port, backlog=1024)
        bound: int = self._listener.sockets[0].getsockname()[1]
        return bound

    async def stop(self) -> None:
        """Reset every connection, as a killed process would, and wait for what ran on it; raises what broke answering."""
        if self._listener is not None:
            self._listener.close()
        open_links = list(self.links)
        for link in open_links:
            link.reset()
        for link in open_links:
            await link.ended()
        if self._listener is not None:
            await self._listener.wait_closed()
            self._listener = None
        if self.mistakes:
            raise self.mistakes.pop()

    def close_idle(self) -> int:
        """FIN to every connection that is answering nothing, as vLLM does after five seconds; how many."""
        idle = [link for link in self.links if link.current is None]
        for link in idle:
            link.close()
        return len(idle)

    def _accept(self) -> Link:
        self.accepted += 1
        return Link(self, self.accepted - 1)
