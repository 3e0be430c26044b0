"""The other end of a connection to an engine: every byte, FIN and RST is the test's to choose."""

from __future__ import annotations

import asyncio
import socket
import struct

from penstock.errors import EngineFault
from penstock.gateway.upstream import Listener

LIMIT = 20.0
"""Seconds any single wait may take before the test fails."""


class Told(Listener):
    """A listener that keeps what it was told."""

    def __init__(self) -> None:
        self.heads: list[tuple[int, dict[bytes, bytes]]] = []
        self.body = b""
        self.fault: EngineFault | None = None
        self.ends = 0
        self.over = asyncio.Event()
        self.more = asyncio.Event()

    def answered(self, status: int, headers: dict[bytes, bytes]) -> None:
        self.heads.append((status, dict(headers)))

    def received(self, data: bytes) -> None:
        self.body += data
        self.more.set()

    def complete(self) -> None:
        self.ends += 1
        self.over.set()

    def lost(self, fault: EngineFault) -> None:
        self.ends += 1
        self.fault = fault
        self.over.set()

    async def end(self) -> Told:
        async with asyncio.timeout(LIMIT):
            await self.over.wait()
        return self


class Link:
    """One accepted connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def request(self) -> bytes:
        async with asyncio.timeout(LIMIT):
            return await self.reader.readuntil(b"\r\n\r\n")

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def left(self) -> bool:
        """Whether the other side has gone; waits for it."""
        async with asyncio.timeout(LIMIT):
            try:
                return await self.reader.read() == b""
            except ConnectionError:
                return True

    def fin(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        one = self.writer.get_extra_info("socket")
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


class Peer:
    """The server: every connection is handed to the test."""

    def __init__(self) -> None:
        self._links: asyncio.Queue[Link] = asyncio.Queue()
        self._all: list[Link] = []
        self._server: asyncio.Server | None = None
        self.url = ""

    @property
    def accepted(self) -> int:
        return len(self._all)

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = Link(reader, writer)
        self._all.append(link)
        await self._links.put(link)

    async def link(self) -> Link:
        async with asyncio.timeout(LIMIT):
            return await self._links.get()

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            for link in self._all:
                link.writer.transport.abort()
            await self._server.wait_closed()
