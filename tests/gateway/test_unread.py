"""Clients that do not read: what waits for them is bounded, and so is for how long."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.fakes.gateway import Gateway, StartGateway
from tests.fakes.raw import once, request
from tests.gateway.site import chat

from penstock.faults.engine import Engine
from penstock.faults.script import HEALTHY, Script

pytestmark = pytest.mark.asyncio

SIZE = 16 * 1024 * 1024
"""More than the kernel's buffers between two processes take."""


async def start(gateway: StartGateway, engine: Engine, **limits: str) -> Gateway:
    return await gateway(
        {
            "backends": {"first": {"kind": "vllm", "url": engine.url, "probe": "100ms"}},
            "aliases": {"m": {"targets": [{"backends": ["first"], "model": "m"}]}},
            "limits": limits,
        }
    )


def large() -> Script:
    message = {"role": "assistant", "content": "a" * SIZE}
    answer = {"id": "x", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    return Script(body=json.dumps(answer), content_type="application/json")


def connected(url: str) -> socket.socket:
    """A client whose own buffer is small."""
    parts = urlsplit(url)
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect((parts.hostname, parts.port))
    return client


def held(client: int, server: int) -> bool:
    """Of two ports: whether the gateway's process still holds its end of the connection: an orphan of the kernel has inode 0."""
    for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]:
        fields = line.split()
        if [int(fields[at].rpartition(":")[2], 16) for at in (1, 2)] == [server, client]:
            return fields[9] != "0"
    return False


async def test_the_next_answer_waits_until_the_last_is_taken(gateway: StartGateway, scripted_engine: Engine) -> None:
    one = await start(gateway, scripted_engine)
    scripted_engine.script = large()
    with connected(one.url) as client:
        ask = request("/v1/chat/completions", chat())
        await asyncio.to_thread(client.sendall, ask + ask)
        await one.until(
            "/stats", lambda page: page["backends"]["first"]["active"] == 0 and bool(scripted_engine.requests)
        )
        scripted_engine.script = HEALTHY
        await asyncio.to_thread(client.sendall, ask)
        await one.until("/stats", lambda page: page["active_requests"] == 0)
        assert len(scripted_engine.requests) == 1
        received = 0
        while received < SIZE:
            received += len(await asyncio.to_thread(client.recv, 1 << 20))
        await scripted_engine.seen(3)


async def test_a_client_that_takes_nothing_is_dropped(gateway: StartGateway, scripted_engine: Engine) -> None:
    one = await start(gateway, scripted_engine, idle="1s")
    scripted_engine.script = large()
    for headers in ((), ("connection: close",)):
        with connected(one.url) as client:
            await asyncio.to_thread(client.sendall, request("/v1/chat/completions", chat(), *headers))
            mine = client.getsockname()[1], client.getpeername()[1]
            # the kernel's connection becomes the gateway's when it is accepted
            await one.until("/livez", lambda _, ports=mine: held(*ports))  # type: ignore[misc]
            await one.until("/livez", lambda _, ports=mine: not held(*ports))  # type: ignore[misc]


async def test_a_stream_of_a_stored_answer_that_nobody_takes_has_an_end(
    gateway: StartGateway, scripted_engine: Engine
) -> None:
    """A client that stays and takes nothing holds the engine as long as a request may take, and no longer."""
    one = await start(gateway, scripted_engine, total="4s", idle="500ms")
    scripted_engine.script = Script(tokens=("x" * 32 * 1024,), count=SIZE // (32 * 1024))
    made = await once(one.url, "/v1/responses", {"model": "m", "input": "a"})
    assert made.status == 200, made.body
    with connected(one.url) as client:
        client.sendall(request(f"/v1/responses/{made.json()['id']}?stream=true"))
        await scripted_engine.aborted()
