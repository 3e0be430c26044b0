"""Two tenants at one engine: who floods the queue waits behind itself, and takes nobody's place."""

from __future__ import annotations

import hashlib
from contextlib import AsyncExitStack

import pytest
from tests.fakes.gateway import Gateway, StartGateway
from tests.fakes.raw import Raw, once
from tests.gateway.site import lane

from penstock.faults.engine import Engine

__all__ = ["lane"]

pytestmark = pytest.mark.asyncio
PATH = "/v1/chat/completions"


async def start(gateway: StartGateway, engine: Engine, queue: int) -> Gateway:
    """One slot, and the tenants `loud` and `quiet`."""
    callers = {
        name: {"tenant": name, "key_sha256": hashlib.sha256(f"sk-{name}".encode()).hexdigest()}
        for name in ("loud", "quiet")
    }
    return await gateway(
        {
            "backends": {"a": {"kind": "vllm", "url": engine.url, "slots": 1, "probe": "100ms"}},
            "aliases": {
                "m": {"targets": [{"backends": ["a"], "model": "m"}]},
                "second": {"targets": [{"backends": ["a"], "model": "m"}]},
            },
            "callers": callers,
            "limits": {"queue": queue, "queue_wait": "20s"},
        }
    )


def ask(raw: Raw, tenant: str, number: int, *, model: str = "m", padding: int = 0) -> None:
    content = f"{tenant} {number} {'x' * padding}"
    body = {"model": model, "messages": [{"role": "user", "content": content}]}
    raw.ask(PATH, body, f"authorization: Bearer sk-{tenant}")


async def waiting(gateway: Gateway, count: int) -> None:
    await gateway.until("/stats", lambda page: page["queued_requests"] == count, "authorization: Bearer sk-quiet")


async def metrics(gateway: Gateway) -> str:
    return (await once(gateway.url, "/metrics")).body.decode()


def order(engine: Engine) -> list[str]:
    """The engine's own account of who was served when."""
    return [
        tenant
        for request in engine.requests
        for tenant in ("loud", "quiet")
        if b'"content":"%b ' % tenant.encode() in request.body.replace(b": ", b":")
    ]


async def test_a_flood_of_one_tenant_does_not_starve_another(gateway: StartGateway, scripted_engine: Engine) -> None:
    """Twelve wait before it, at its own alias and another one; it is next all the same."""
    running = await start(gateway, scripted_engine, queue=50)
    gate = scripted_engine.hold(before=0)
    async with AsyncExitStack() as life:
        flood = [await life.enter_async_context(Raw(running.url)) for _ in range(13)]
        ask(flood[0], "loud", 0, padding=100_000)
        await gate.reached()
        for number, raw in enumerate(flood[1:], 1):
            ask(raw, "loud", number, padding=20_000)
        await waiting(running, 12)
        quiet = [await life.enter_async_context(Raw(running.url)) for _ in range(2)]
        for number, (raw, model) in enumerate(zip(quiet, ("m", "second"), strict=True)):
            ask(raw, "quiet", number, model=model)
        await waiting(running, 14)
        page = await metrics(running)
        assert 'penstock_queue_tenant_depth{tenant="loud"} 12.0' in page
        assert 'penstock_queue_tenant_depth{tenant="quiet"} 2.0' in page
        gate.open()
        for raw in (*quiet, *flood):
            assert (await raw.answer()).status == 200
    served = order(scripted_engine)
    assert len(served) == 15
    assert [at for at, tenant in enumerate(served) if tenant == "quiet"][-1] <= 4, served
    assert "penstock_queue_tenant_depth{" not in await metrics(running)


async def test_a_full_queue_has_a_place_for_who_has_none(gateway: StartGateway, scripted_engine: Engine) -> None:
    """The flood's newest gives way, with 503 and a time to come back; its others are answered."""
    running = await start(gateway, scripted_engine, queue=3)
    gate = scripted_engine.hold(before=0)
    async with AsyncExitStack() as life:
        flood = [await life.enter_async_context(Raw(running.url)) for _ in range(4)]
        ask(flood[0], "loud", 0)
        await gate.reached()
        for number, raw in enumerate(flood[1:], 1):
            ask(raw, "loud", number)
            await waiting(running, number)
        refused = await life.enter_async_context(Raw(running.url))
        ask(refused, "loud", 9)
        assert (await refused.answer()).status == 503
        quiet = await life.enter_async_context(Raw(running.url))
        ask(quiet, "quiet", 0)
        gave = await flood[-1].answer()
        assert gave.status == 503
        assert "another tenant" in gave.error
        assert int(gave.header("retry-after") or 0) >= 1
        gate.open()
        for raw in (quiet, *flood[:-1]):
            assert (await raw.answer()).status == 200
    assert order(scripted_engine).count("loud") == 3
