"""The other workers of this gateway on this machine, reached over their admin sockets.

A scrape lands on one worker and has to tell of all. Nothing else is shared this way; docs/decisions say what is.
"""

from __future__ import annotations

import asyncio
import contextlib

import msgspec

from penstock.gateway.metrics import Snapshot

TIMEOUT = 1.0
LIMIT = 16 * 1024 * 1024


def socket_path(admin: str, worker: int) -> str:
    """Where a worker's admin socket is; the first one has the configured name."""
    return admin if worker == 0 else f"{admin}.{worker}"


class Peers:
    """All workers but this one."""

    def __init__(self, admin: str, worker: int, workers: int) -> None:
        self.paths = [socket_path(admin, one) for one in range(workers) if one != worker]

    async def snapshots(self) -> list[Snapshot]:
        """The numbers of every worker that answers in time."""
        found = await asyncio.gather(*(_snapshot(path) for path in self.paths))
        return [one for one in found if one is not None]

    async def post(self, path: str, route: str, body: bytes = b"") -> bytes | None:
        """What one of them answers; None where it does not in time."""
        with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            async with asyncio.timeout(TIMEOUT):
                return await ask(path, "POST", route, body)
        return None


async def _snapshot(path: str) -> Snapshot | None:
    with contextlib.suppress(OSError, TimeoutError, msgspec.DecodeError, asyncio.IncompleteReadError):
        async with asyncio.timeout(TIMEOUT):
            return msgspec.json.decode(await ask(path, "GET", "/snapshot"), type=Snapshot)
    return None


async def ask(path: str, method: str, route: str, body: bytes = b"") -> bytes:
    """One request over a Unix socket, its answer's body; raises OSError when nobody listens there."""
    reader, writer = await asyncio.open_unix_connection(path, limit=LIMIT)
    try:
        length = f"content-length: {len(body)}\r\n" if body else ""
        head = f"{method} {route} HTTP/1.1\r\nhost: penstock\r\n{length}connection: close\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()
        answered = await reader.readuntil(b"\r\n\r\n")
        return await reader.readexactly(_content_length(answered))
    finally:
        writer.close()


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length":
            return min(int(value), LIMIT)
    return 0
