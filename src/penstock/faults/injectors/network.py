"""A network of one process: a namespace with nothing but a loopback of its own, made with the process and gone with it."""

from __future__ import annotations

import asyncio
import ctypes
import itertools
import os
import socket
import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from penstock.faults.scenario import NotHere

_NETWORK = 0x40000000
"""CLONE_NEWNET of sched.h."""
_PIECE = 65536


def alone(settings: Mapping[str, str]) -> Sequence[str]:
    """The command in front of a process that gets such a network; `settings` are files below /proc/sys/net and their text."""
    words = ["ip link set lo up", *(f'echo "{text}" >"/proc/sys/net/{name}"' for name, text in settings.items())]
    return ("unshare", "--net", "sh", "-c", f'{" && ".join(words)} && exec "$@"', "sh")


def beside(pid: int) -> Sequence[str]:
    """The command in front of a process that shall be in the network of that one."""
    return ("nsenter", f"--net=/proc/{pid}/ns/net")


@asynccontextmanager
async def reached(pid: int, port: int) -> AsyncIterator[str]:
    """A URL out here for a port in there. Each connection comes from an address of its own, so none takes another's ports."""
    sources = (f"127.1.{number // 250}.{number % 250 + 1}" for number in itertools.count())
    writers: set[asyncio.StreamWriter] = set()

    async def passed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.add(writer)
        try:
            far_reader, far = await asyncio.open_connection(sock=await _connected(pid, next(sources), port))
        except OSError:
            writer.transport.abort()
            return
        writers.add(far)
        await asyncio.gather(_pump(reader, far), _pump(far_reader, writer))

    server = await asyncio.start_server(passed, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
        await server.wait_closed()


async def _connected(pid: int, source: str, port: int) -> socket.socket:
    one = await asyncio.to_thread(_socket, pid)
    one.setblocking(False)  # noqa: FBT003 - the name is the standard library's
    one.bind((source, 0))
    await asyncio.get_running_loop().sock_connect(one, ("127.0.0.1", port))
    return one


def _socket(pid: int) -> socket.socket:
    """A socket of that network; a socket stays in the one it was made in, and a thread ends with the one it has entered."""
    made: list[socket.socket | OSError] = []

    def make() -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        with Path(f"/proc/{pid}/ns/net").open("rb") as network:
            if libc.setns(network.fileno(), _NETWORK):
                made.append(OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno())))
                return
        made.append(socket.socket())

    thread = threading.Thread(target=make, name="network")
    thread.start()
    thread.join()
    if isinstance(made[0], OSError):
        raise NotHere(f"the network of another process cannot be entered here: {made[0].strerror}")
    return made[0]


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while piece := await reader.read(_PIECE):
            writer.write(piece)
            await writer.drain()
    writer.close()
