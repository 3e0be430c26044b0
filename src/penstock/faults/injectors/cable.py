"""A cable that can be pulled: an engine in a network namespace of its own, and a link to it that goes dead without a word.

Nothing is closed and nothing is reset: packets leave and none comes back, as when a machine loses its power or a switch its
port. Needs root (or a user namespace of which this process is root) and iproute2. The namespace lives as long as the process
that holds it, which ends with us, and as the last of its connections; the link is taken away before that.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from penstock.faults.scenario import NotHere

_NEWNET = 0x40000000
_LIMIT = 10.0
_LOOK = 0.01
_CHUNK = 65536
_count = iter(range(1, 1 << 16))


class Cable:
    """The link between here and there."""

    def __init__(self, holder: int, near: str, host: str, here: str) -> None:
        self._holder = holder
        self._near = near
        self.host = host
        """Where the far end can be reached."""
        self.here = here
        """The address of the near end."""

    async def socket(self) -> socket.socket:
        """A socket of the far end, for a client there."""
        return await asyncio.to_thread(_made_there, self._holder, socket.socket)

    async def pull(self) -> None:
        """From now on no packet passes."""
        await _run("nsenter", "-t", str(self._holder), "-n", "ip", "link", "set", "far", "down")

    async def plug(self) -> None:
        """Packets pass again."""
        await _run("nsenter", "-t", str(self._holder), "-n", "ip", "link", "set", "far", "up")

    async def take_away(self) -> None:
        """Both ends are gone."""
        await _run("ip", "link", "del", self._near)


@asynccontextmanager
async def cable(port: int) -> AsyncIterator[tuple[Cable, str]]:
    """A cable, and the URL at which the engine that listens here on `port` can be reached at its far end."""
    holder = await asyncio.create_subprocess_exec(
        "unshare", "--net", "cat", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL
    )
    try:
        one = await _laid(holder.pid)
        try:
            listener = await asyncio.to_thread(_made_there, holder.pid, lambda: socket.create_server(("", 0)))
            async with _relayed(listener, port):
                yield one, f"http://{one.host}:{listener.getsockname()[1]}"
        finally:
            await one.take_away()
    finally:
        if holder.stdin is not None:
            holder.stdin.close()
        await holder.wait()


async def _laid(holder: int) -> Cable:
    """Two ends with addresses of the range that is set aside for tests of networks."""
    number = next(_count)
    near = f"pf{os.getpid() % 100000:x}x{number:x}"
    net = f"198.18.{os.getpid() % 256}.{number % 63 * 4}"
    base = net.rpartition(".")[0]
    last = int(net.rpartition(".")[2])
    inside = ("nsenter", "-t", str(holder), "-n", "ip")
    await asyncio.to_thread(_wait_for_namespace, holder)
    await _run("ip", "link", "add", "name", near, "type", "veth", "peer", "name", "far", "netns", str(holder))
    await _run("ip", "addr", "add", f"{base}.{last + 1}/30", "dev", near)
    await _run("ip", "link", "set", near, "up")
    await _run(*inside, "addr", "add", f"{base}.{last + 2}/30", "dev", "far")
    await _run(*inside, "link", "set", "far", "up")
    await _run(*inside, "link", "set", "lo", "up")
    return Cable(holder, near, f"{base}.{last + 2}", f"{base}.{last + 1}")


def _wait_for_namespace(holder: int) -> None:
    """Until the process is in one of its own."""
    own = Path("/proc/self/ns/net").readlink()
    until = time.monotonic() + _LIMIT
    while Path(f"/proc/{holder}/ns/net").readlink() == own:
        if time.monotonic() > until:
            raise NotHere("a network namespace cannot be had here: `unshare --net` did not make one")
        time.sleep(_LOOK)


def _made_there(holder: int, socket_of: Callable[[], socket.socket]) -> socket.socket:
    """A socket in the holder's namespace: made by a thread that goes there and does not come back."""
    made: list[socket.socket] = []
    trouble: list[OSError] = []

    def make() -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        with Path(f"/proc/{holder}/ns/net").open("rb") as there:
            if libc.setns(there.fileno(), _NEWNET):
                trouble.append(OSError(ctypes.get_errno(), "setns"))
                return
        made.append(socket_of())

    thread = threading.Thread(target=make)
    thread.start()
    thread.join(_LIMIT)
    if not made:
        raise NotHere(f"a socket in another network namespace cannot be had here: {trouble}")
    return made[0]


@asynccontextmanager
async def _relayed(listener: socket.socket, port: int) -> AsyncIterator[None]:
    """Whoever connects there talks to the engine here, which stays in its process."""
    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(_relay(reader, writer, port))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(accept, sock=listener)
    try:
        yield
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await server.wait_closed()


async def _relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
    """Bytes in both directions until either side ends."""
    theirs, ours = await asyncio.open_connection("127.0.0.1", port)
    ways = {asyncio.create_task(_copy(reader, ours)), asyncio.create_task(_copy(theirs, writer))}
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        ours.transport.abort()
        writer.transport.abort()
        await asyncio.gather(*ways, return_exceptions=True)


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while data := await source.read(_CHUNK):
        sink.write(data)
        await sink.drain()


async def _run(*command: str) -> None:
    try:
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
        )
    except FileNotFoundError as error:
        raise NotHere(f"{command[0]} is not there: install iproute2 ({error})") from None
    _, said = await process.communicate()
    if process.returncode:
        raise NotHere(f"`{' '.join(command)}` was refused: {said.decode(errors='replace').strip()}")
