"""A client that sends the bytes it is told, reads or does not, and knows what framed the answers it got. For hostile ones."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

LIMIT = 12.0
"""Seconds any single wait may take."""


class Bare:
    """One connection; an async context manager. `buffer` makes the kernel's part of a slow reader small; `sock` is one to connect."""

    def __init__(self, url: str, *, buffer: int = 0, sock: socket.socket | None = None) -> None:
        parts = urlsplit(url)
        self._address = (parts.hostname or "127.0.0.1", parts.port or 80)
        self.socket = sock or socket.socket()
        self.socket.settimeout(0)
        if buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        self.received = bytearray()
        self.closed = False
        """The other side has ended the connection."""

    async def __aenter__(self) -> Self:
        async with asyncio.timeout(LIMIT):
            await asyncio.get_running_loop().sock_connect(self.socket, self._address)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()

    async def send(self, data: bytes, limit: float = LIMIT) -> bool:
        """Send all of it; False where the other side does not take it, or not in time."""
        try:
            async with asyncio.timeout(limit):
                await asyncio.get_running_loop().sock_sendall(self.socket, data)
        except (OSError, TimeoutError):
            return False
        return True

    @property
    def ended(self) -> bool:
        """Whether the other side has ended the connection, without waiting; what comes before the end is read."""
        while not self.closed:
            try:
                data = self.socket.recv(1 << 16)
            except BlockingIOError:
                return False
            except OSError:
                data = b""
            self.closed = not data
            self.received += data
        return True

    async def end(self, limit: float = LIMIT) -> bytes:
        """Read until the other side ends the connection, or until the limit; everything that came."""
        await self._read(lambda: False, limit)
        return bytes(self.received)

    async def answers(self, count: int, limit: float = LIMIT) -> list[tuple[int, bytes]]:
        """Read until so many whole answers have come, or the end; statuses and bodies."""
        await self._read(lambda: len(answers(bytes(self.received))) >= count, limit)
        return answers(bytes(self.received))

    async def _read(self, ready: Callable[[], bool], limit: float) -> None:
        loop, until = asyncio.get_running_loop(), time.monotonic() + limit
        while not self.closed and not ready() and time.monotonic() < until:
            try:
                async with asyncio.timeout_at(loop.time() + until - time.monotonic()):
                    data = await loop.sock_recv(self.socket, 1 << 18)
            except TimeoutError:
                return
            except OSError:
                data = b""
            self.closed = not data
            self.received += data


def answers(wire: bytes) -> list[tuple[int, bytes]]:
    """The whole answers in what came: status and body of each, those below 200 left out."""
    found: list[tuple[int, bytes]] = []
    while True:
        head, end, rest = wire.partition(b"\r\n\r\n")
        if not end or not head.startswith(b"HTTP/1."):
            return found
        status = int(head[9:12])
        names = {
            name.strip().lower(): value.strip()
            for name, _, value in (line.partition(b":") for line in head.split(b"\r\n")[1:])
        }
        body = b""
        if status < 200:
            wire = rest
            continue
        if names.get(b"transfer-encoding", b"").lower() == b"chunked":
            cut = _chunks(rest)
            if cut is None:
                return found
            body, rest = cut
        elif b"content-length" in names:
            size = int(names[b"content-length"])
            if len(rest) < size:
                return found
            body, rest = rest[:size], rest[size:]
        else:
            body, rest = rest, b""
        found.append((status, body))
        wire = rest


def _chunks(data: bytes) -> tuple[bytes, bytes] | None:
    body = b""
    while True:
        line, end, data = data.partition(b"\r\n")
        if not end:
            return None
        size = int(line.partition(b";")[0], 16)
        if len(data) < size + 2:
            return None
        body, data = body + data[:size], data[size + 2 :]
        if not size:
            return body, data
