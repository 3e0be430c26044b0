"""Clients that take little of a stream, and clients that take nothing: an engine waits for the one and not for the other."""

from __future__ import annotations

import asyncio

import pytest
from tests.fakes.gateway import Gateway, StartGateway
from tests.fakes.raw import once, request
from tests.gateway.site import chat, lane
from tests.gateway.test_unread import connected

from penstock.faults.engine import Engine
from penstock.faults.script import Script

__all__ = ["lane"]

pytestmark = pytest.mark.asyncio
ENDLESS = Script(tokens=("x" * 32 * 1024,), count=4_000)
"""125 MB, more than anybody reads here."""


async def start(gateway: StartGateway, engine: Engine) -> Gateway:
    engine.script = ENDLESS
    return await gateway(
        {
            "backends": {"first": {"kind": "vllm", "url": engine.url}},
            "aliases": {"m": {"targets": [{"backends": ["first"], "model": "m"}]}},
            "limits": {"idle": "1s"},
        }
    )


async def test_a_stream_that_nobody_takes_gives_its_slot_back(gateway: StartGateway, scripted_engine: Engine) -> None:
    """The engine stands still for it: not as long as a request may take, but as long as an idle connection may stay."""
    one = await start(gateway, scripted_engine)
    with connected(one.url) as client:
        client.sendall(request("/v1/chat/completions", chat(stream=True)))
        assert 0 < (await scripted_engine.aborted()).tokens < 4_000
    page = (await once(one.url, "/metrics")).body.decode()
    assert 'penstock_clients_gone_total{alias="m",phase="streaming"} 1.0' in page


async def test_a_client_that_takes_a_little_now_and_then_is_kept(
    gateway: StartGateway, scripted_engine: Engine
) -> None:
    """Too slow to empty the gateway's buffer within the limit; what leaves the kernel counts too."""
    one = await start(gateway, scripted_engine)
    with connected(one.url) as client:
        client.sendall(request("/v1/chat/completions", chat(stream=True)))
        for _ in range(8):
            assert await asyncio.to_thread(client.recv, 64 * 1024)
            await asyncio.sleep(0.3)  # the pace of this client, which is what this is about
        assert not scripted_engine.aborts
        assert scripted_engine.running == 1
    await scripted_engine.aborted()
