"""The floor of an event loop in Python: bytes from each client to a connection of its own, and back, nothing looked at.

It parses nothing, checks nothing and counts nothing, on the same uvloop as the gateway. No gateway in Python on this machine
can cost less than this does, so its ratio to nginx says which targets the machine leaves room for.
"""

from __future__ import annotations

import asyncio
import sys

import uvloop


class Half(asyncio.Protocol):
    """One end; what it reads, the other writes."""

    transport: asyncio.Transport
    other: Half | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # a stream protocol gets a stream transport

    def data_received(self, data: bytes) -> None:
        if self.other is not None:
            self.other.transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        other, self.other = self.other, None
        if other is not None:
            other.other = None
            other.transport.abort()


class Client(Half):
    """The end towards the load; the engine is called when it arrives."""

    def __init__(self, engine: int) -> None:
        self._engine = engine
        self._early = b""
        self._dialing: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._dialing = asyncio.get_running_loop().create_task(self._dial())

    def data_received(self, data: bytes) -> None:
        if self.other is None:
            self._early += data
        else:
            self.other.transport.write(data)

    async def _dial(self) -> None:
        _, far = await asyncio.get_running_loop().create_connection(Half, "127.0.0.1", self._engine)
        far.other, self.other = self, far
        far.transport.write(self._early)


async def main(port: int, engine: int) -> None:
    server = await asyncio.get_running_loop().create_server(lambda: Client(engine), "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), int(sys.argv[2])))
