"""A name server of our own, and a process that asks it: for names that are not known, never answered, or that move.

The process gets `/etc/resolv.conf` and `/etc/nsswitch.conf` of its own in a mount namespace, so nothing else on the machine
is touched and nothing leaves it.
"""

from __future__ import annotations

import asyncio
import ipaddress
import secrets
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

from penstock.faults.scenario import NotHere

_NXDOMAIN, _SERVFAIL = 3, 2
_A = 1
_HEAD = struct.Struct(">HHHHHH")
_POINTER_TO_NAME = 0xC00C
_TRIES = 8


class Names(asyncio.DatagramProtocol):
    """Answers A questions from a table; a name that is not in it does not exist."""

    def __init__(self) -> None:
        self.addresses: dict[str, list[str]] = {}
        """Lower-case names and their addresses; change it to move a name."""
        self.silent = False
        """Never answer."""
        self.broken = False
        """Answer that the server has failed."""
        self.asked: list[str] = []
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # asyncio's own datagram transport is no instance of its DatagramTransport before Python 3.12
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        name, kind, end = _question(data)
        self.asked.append(name)
        if self.silent or self._transport is None:
            return
        addresses = self.addresses.get(name)
        code = _SERVFAIL if self.broken else 0 if addresses is not None else _NXDOMAIN
        answers = (addresses or []) if kind == _A and not code else []
        head = _HEAD.pack(int.from_bytes(data[:2]), 0x8580 | code, 1, len(answers), 0, 0)
        rows = [
            struct.pack(">HHHIH", _POINTER_TO_NAME, _A, 1, 0, 4) + ipaddress.IPv4Address(one).packed for one in answers
        ]
        self._transport.sendto(b"".join([head, data[_HEAD.size : end], *rows]), addr)


def _question(data: bytes) -> tuple[str, int, int]:
    """The name and type that a query asks for, and where the question ends."""
    place, labels = _HEAD.size, []
    while data[place]:
        labels.append(data[place + 1 : place + 1 + data[place]].decode("ascii").lower())
        place += 1 + data[place]
    return ".".join(labels), int.from_bytes(data[place + 1 : place + 3]), place + 5


@asynccontextmanager
async def names(folder: Path) -> AsyncIterator[tuple[Names, Sequence[str]]]:
    """A running name server, and the command in front of a process that shall ask it."""
    server = Names()
    transport, host = await _listening(server)
    try:
        yield server, _asking(folder, host)
    finally:
        transport.close()


async def _listening(server: Names) -> tuple[asyncio.DatagramTransport, str]:
    """On an address of its own: a resolver's file cannot name a port."""
    trouble = ""
    for _ in range(_TRIES):
        host = f"127.{secrets.randbelow(200) + 20}.{secrets.randbelow(250) + 2}.53"
        try:
            transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
                lambda: server, local_addr=(host, 53)
            )
        except OSError as error:
            trouble = f"a name server on {host}:53 cannot be had here: {error.strerror}"
        else:
            return transport, host
    raise NotHere(trouble)


def _asking(folder: Path, host: str) -> Sequence[str]:
    """The command in front of a process that shall ask the name server at this address."""
    files = {
        "resolv.conf": f"nameserver {host}\noptions timeout:1 attempts:1\n",
        "nsswitch.conf": "hosts: files dns\n",
    }
    mounts = []
    for name, text in files.items():
        (folder / name).write_text(text, encoding="ascii")
        if Path("/etc", name).exists():
            mounts.append(f"mount --bind {folder / name} /etc/{name} && ")
    return ("unshare", "--mount", "sh", "-c", f'{"".join(mounts)}exec "$@"', "sh")
