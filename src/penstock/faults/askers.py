"""Clients that ask again and again, each on one kept connection or on a new one each time, and remember what went wrong.

A client of this sort keeps to HTTP: on a kept connection that the gateway closed between two answers it asks once more on a
new one, as every client library does, and counts that. Anything else that is not a whole answer is lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

from penstock.faults.scenario import Failed

_MORE = 30.0
_HEAD = b"POST %b HTTP/1.1\r\nhost: faults\r\ncontent-type: application/json\r\n%bcontent-length: %d\r\n\r\n"

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Asker:
    """One client."""

    def __init__(self, url: str, *, keep: bool, body: bytes, path: str = "/v1/chat/completions") -> None:
        parts = urlsplit(url)
        self._address = parts.hostname or "127.0.0.1", parts.port or 80
        self._keep = keep
        self._request = _HEAD % (path.encode(), b"" if keep else b"connection: close\r\n", len(body)) + body
        self.answered = 0
        self.statuses: dict[int, int] = {}
        self.answers: list[bytes] = []
        """Bodies of the last answers, for those who look into them."""
        self.lost: list[str] = []
        self.repeated = 0
        """Kept connections that were closed between two answers."""
        self.refused = 0
        """Refusals with an error status, counted as answers and not as losses where the scenario allows for them."""
        self.allows = frozenset({200})
        self.stopping = False
        self._ended = asyncio.Event()
        self._moved = asyncio.Condition()

    async def run(self) -> None:
        """Until told to stop."""
        try:
            await self._run()
        finally:
            self._ended.set()

    async def ended(self) -> None:
        """Until its last answer has come."""
        async with asyncio.timeout(_MORE):
            await self._ended.wait()

    async def _run(self) -> None:
        connection: Connection | None = None
        used = False
        while not self.stopping:
            try:
                if connection is None:
                    connection, used = await asyncio.open_connection(*self._address), False
                again = await self._once(*connection)
                used = True
                if not again:
                    connection[1].close()
                    connection = None
            except (OSError, asyncio.IncompleteReadError, ValueError) as problem:
                if connection is not None:
                    connection[1].close()
                connection = None
                if used and _nothing_came(problem):
                    self.repeated += 1
                    used = False
                elif not self.stopping:
                    self.lost.append(repr(problem))
                    await asyncio.sleep(0.01)
        if connection is not None:
            connection[1].close()

    async def _once(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        writer.write(self._request)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        status = int(head.split(b" ", 2)[1])
        length = next(line for line in head.split(b"\r\n") if line.startswith(b"content-length:"))
        body = await reader.readexactly(int(length.partition(b":")[2]))
        self.statuses[status] = self.statuses.get(status, 0) + 1
        if status not in self.allows:
            self.lost.append(f"{status}: {body[:200]!r}")
        self.answered += 1
        self.answers = [*self.answers[-199:], body]
        async with self._moved:
            self._moved.notify_all()
        return self._keep and b"connection: close" not in head

    async def more(self, count: int) -> None:
        """Until it has had so many more answers."""
        wanted = self.answered + count
        try:
            async with asyncio.timeout(_MORE), self._moved:
                await self._moved.wait_for(lambda: self.answered >= wanted)
        except TimeoutError:
            raise Failed(
                f"{count} more answers within {_MORE:g} s were expected, seen {self.answered - wanted + count}; lost: {self.lost[-3:]}"
            ) from None


def _nothing_came(problem: Exception) -> bool:
    """Whether not a byte of an answer was read: a request on a connection that was being closed."""
    return isinstance(problem, ConnectionError) or (
        isinstance(problem, asyncio.IncompleteReadError) and not problem.partial
    )


@contextlib.asynccontextmanager
async def asking(
    url: str,
    clients: int,
    *,
    body: object,
    path: str = "/v1/chat/completions",
    allows: frozenset[int] = frozenset({200}),
) -> AsyncIterator[list[Asker]]:
    """Clients, every other one with a kept connection, busy until the block ends."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    askers = [Asker(url, keep=index % 2 == 0, body=raw, path=path) for index in range(clients)]
    for asker in askers:
        asker.allows = allows
    tasks = [asyncio.create_task(asker.run()) for asker in askers]
    try:
        yield askers
    finally:
        for asker in askers:
            asker.stopping = True
        await asyncio.wait(tasks, timeout=5.0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def nothing_lost(askers: list[Asker]) -> None:
    """Every request of every client was answered."""
    lost = [problem for asker in askers for problem in asker.lost]
    if lost:
        answered = sum(asker.answered for asker in askers)
        raise Failed(f"no lost request was expected, seen {len(lost)} beside {answered} answers: {lost[:3]}")
