from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest
import uvloop
from tests.fakes.gateway import StartGateway

from penstock.faults.engine import Engine
from penstock.gateway import listen

CLIENTS = 40


async def _rounds(*, doors: bool) -> int:
    """Rounds of the loop until all clients that knocked at once are in."""
    inside: list[asyncio.BaseTransport] = []

    class Guest(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            inside.append(transport)

    (sock,) = listen.bind(["127.0.0.1:0"], takeover=False)
    sock.listen(listen.BACKLOG)
    own = [sock, *(listen.doors(sock) if doors else [])]
    loop = asyncio.get_running_loop()
    servers = [await loop.create_server(Guest, sock=one) for one in own]
    clients = [socket.create_connection(sock.getsockname()) for _ in range(CLIENTS)]
    rounds = 0
    while len(inside) < CLIENTS and rounds < 10 * CLIENTS:
        rounds += 1
        await asyncio.sleep(0)
    for server in servers:
        server.close()
    for transport in inside:
        transport.close()
    for one in (*clients, *own):
        one.close()
    await asyncio.sleep(0)
    return rounds


def test_several_new_connections_are_taken_in_each_round_of_the_loop() -> None:
    """Else clients that come to a busy gateway wait behind the streams of those already in, some for 20 s."""
    rounds = uvloop.run(_rounds(doors=True))
    assert rounds <= CLIENTS / listen.DOORS + 5, rounds


@pytest.mark.asyncio
async def test_the_gateway_has_several_doors(gateway: StartGateway, scripted_engine: Engine) -> None:
    running = await gateway(
        {
            "backends": {"first": {"kind": "vllm", "url": scripted_engine.url}},
            "aliases": {"m": {"targets": [{"backends": ["first"], "model": "m"}]}},
        }
    )
    handles = _handles(running.process.pid, int(running.url.rpartition(":")[2]))
    # one more is the socket as it was bound
    assert handles >= listen.DOORS


def _handles(pid: int, port: int) -> int:
    """How many descriptors of the process are the socket that listens on that port."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    (listening,) = {row[9] for row in rows if row[3] == "0A" and row[1].endswith(f":{port:04X}")}
    return sum(str(file.readlink()) == f"socket:[{listening}]" for file in Path(f"/proc/{pid}/fd").iterdir())
