"""Listeners that do not do what listeners do. Each takes the place of an engine, on its port."""

from __future__ import annotations

import asyncio
import select
import socket
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from typing import Literal

from penstock.faults.scenario import NotHere

_RESET = struct.pack("ii", 1, 0)
_FILLERS = 64
_PATIENCE = 0.2


@contextmanager
def black_hole(port: int, host: str = "127.0.0.1") -> Iterator[None]:
    """A full accept backlog: the kernel answers no SYN to this port any more."""
    with ExitStack() as life:
        listener = life.enter_context(socket.socket())
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(0)
        for _ in range(_FILLERS):
            filler = life.enter_context(socket.socket())
            filler.settimeout(0)
            filler.connect_ex((host, port))
            if not select.select((), (filler,), (), _PATIENCE)[1]:
                yield
                return
        raise NotHere(f"{_FILLERS} connections did not fill an accept backlog of 0: this kernel accepts them all")


class Rude(asyncio.Protocol):
    """Ends or ignores a connection, at once or when something came."""

    def __init__(self, way: Literal["rst", "fin", "mute"], *, read: bool) -> None:
        self._way = way
        self._read = read
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.Transport):
            self._transport = transport
            if not self._read:
                self._act()

    def data_received(self, data: bytes) -> None:
        del data
        self._act()

    def end(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _act(self) -> None:
        if self._transport is None or self._way == "mute":
            return
        if self._way == "rst":
            self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self._transport.abort()
        else:
            self._transport.close()


@asynccontextmanager
async def rude(
    port: int, way: Literal["rst", "fin", "mute"], *, read: bool = False, host: str = "127.0.0.1"
) -> AsyncIterator[list[Rude]]:
    """Accepts, and resets, closes or ignores the connection: at once, or with `read` once something came."""
    made: list[Rude] = []

    def accept() -> Rude:
        made.append(Rude(way, read=read))
        return made[-1]

    server = await asyncio.get_running_loop().create_server(accept, host, port)
    try:
        yield made
    finally:
        server.close()
        for one in made:
            one.end()
        await server.wait_closed()
