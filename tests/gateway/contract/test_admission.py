"""Slots, the queue in front of them, and the breaker: each on a gateway of its own."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest
from tests.fakes.gateway import Gateway, StartGateway
from tests.fakes.raw import LIMIT, Raw, once
from tests.gateway.site import HELLO, chat

from penstock.faults.engine import Engine
from penstock.faults.script import Script

PATH = "/v1/chat/completions"


async def small(gateway: StartGateway, engine: Engine, **limits: object) -> Gateway:
    """One backend with one slot."""
    return await gateway(
        {
            "backends": {"a": {"kind": "vllm", "url": engine.url, "slots": 1, "probe": "100ms"}},
            "aliases": {"m": {"targets": [{"backends": ["a"], "model": "m"}]}},
            "limits": {"queue": 2, "queue_wait": "20s", **limits},
        }
    )


async def waiting(gateway: Gateway, count: int) -> None:
    await gateway.until("/stats", lambda page: page["queued_requests"] == count)


@pytest.mark.parametrize(
    ("path", "words"), [(PATH, "overloaded"), ("/v1/messages", "overloaded_error"), ("/api/chat", "taken")]
)
async def test_a_full_queue_sheds(gateway: StartGateway, scripted_engine: Engine, path: str, words: str) -> None:
    """503 with Retry-After, at once, in the caller's protocol; nothing more reaches the engine."""
    running = await small(gateway, scripted_engine)
    gate = scripted_engine.hold(before=0)
    async with AsyncExitStack() as life:
        clients = [await life.enter_async_context(Raw(running.url)) for _ in range(3)]
        clients[0].ask(PATH, chat())
        await gate.reached()
        for place, client in enumerate(clients[1:], 1):
            client.ask(PATH, chat())
            await waiting(running, place)
        shed = await once(running.url, path, {**chat(), "max_tokens": 5})
        assert shed.status == 503
        assert int(shed.header("retry-after") or 0) >= 1
        assert words in shed.body.decode()
        assert len(scripted_engine.requests) == 1
        gate.open()
        for client in clients:
            assert (await client.answer()).status == 200
    assert len(scripted_engine.requests) == 3


async def test_first_come_first_served(gateway: StartGateway, scripted_engine: Engine) -> None:
    running = await small(gateway, scripted_engine, queue=10)
    gate = scripted_engine.hold(before=0)
    async with AsyncExitStack() as life:
        clients = []
        for place in range(5):
            client = await life.enter_async_context(Raw(running.url))
            client.ask(PATH, {**chat(), "messages": [{"role": "user", "content": f"number {place}"}]})
            await waiting(running, place)
            clients.append(client)
        gate.open()
        for client in clients:
            assert (await client.answer()).status == 200
    order = [request.body.partition(b"number ")[2][:1] for request in scripted_engine.requests]
    assert order == [b"0", b"1", b"2", b"3", b"4"]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_leaves_the_queue_frees_its_place(
    gateway: StartGateway, scripted_engine: Engine, *, stream: bool
) -> None:
    running = await small(gateway, scripted_engine, queue=1)
    gate = scripted_engine.hold(before=0)
    async with Raw(running.url) as first, Raw(running.url) as last:
        first.ask(PATH, chat())
        await gate.reached()
        async with Raw(running.url) as leaving:
            leaving.ask(PATH, chat(stream=stream))
            await waiting(running, 1)
            assert (await once(running.url, PATH, chat())).status == 503
        await waiting(running, 0)
        last.ask(PATH, chat())
        await waiting(running, 1)
        gate.open()
        assert (await first.answer()).status == 200
        assert (await last.answer()).status == 200
    assert len(scripted_engine.requests) == 2


async def test_a_client_that_leaves_its_slot_frees_it(gateway: StartGateway, scripted_engine: Engine) -> None:
    running = await small(gateway, scripted_engine)
    gate = scripted_engine.hold(before=0)
    async with Raw(running.url) as second:
        async with Raw(running.url) as first:
            first.ask(PATH, chat())
            await gate.reached()
            second.ask(PATH, chat())
            await waiting(running, 1)
        await scripted_engine.aborted()
        await scripted_engine.seen(2)
        gate.open()
        assert (await second.answer()).status == 200


async def test_waiting_has_a_limit(gateway: StartGateway, scripted_engine: Engine) -> None:
    running = await small(gateway, scripted_engine, queue_wait="200ms")
    gate = scripted_engine.hold(before=0)
    async with Raw(running.url) as first:
        first.ask(PATH, chat())
        await gate.reached()
        late = await once(running.url, PATH, chat())
        assert late.status == 503
        assert late.header("retry-after")
        assert "slot" in late.error
        gate.open()
        assert (await first.answer()).status == 200


async def test_no_queue_at_all(gateway: StartGateway, scripted_engine: Engine) -> None:
    running = await small(gateway, scripted_engine, queue=0)
    gate = scripted_engine.hold(before=0)
    async with Raw(running.url) as first:
        first.ask(PATH, chat())
        await gate.reached()
        assert (await once(running.url, PATH, chat())).status == 503
        gate.open()
        assert (await first.answer()).status == 200


async def test_slots_of_an_alias(gateway: StartGateway, scripted_engine: Engine) -> None:
    """One alias at its limit leaves the backend to the others."""
    target = [{"backends": ["a"], "model": "m"}]
    running = await gateway(
        {
            "backends": {"a": {"kind": "vllm", "url": scripted_engine.url}},
            "aliases": {"narrow": {"slots": 1, "targets": target}, "wide": {"targets": target}},
            "limits": {"queue": 0},
        }
    )
    gate = scripted_engine.hold(before=0)
    async with Raw(running.url) as first, Raw(running.url) as other:
        first.ask(PATH, chat("narrow"))
        await gate.reached()
        assert (await once(running.url, PATH, chat("narrow"))).status == 503
        other.ask(PATH, chat("wide"))
        await scripted_engine.seen(2)
        gate.open()
        assert (await other.answer()).status == 200


@pytest.mark.parametrize("script", [Script(cut_after=1), Script(status=500), Script(error_after=1), Script(cut_json=9)])
async def test_a_slot_is_given_back_however_an_answer_ends(
    gateway: StartGateway, scripted_engine: Engine, script: Script
) -> None:
    running = await small(gateway, scripted_engine, queue=0)
    for stream in (True, False):
        scripted_engine.next.append(script)
        await once(running.url, PATH, chat(stream=stream))
        scripted_engine.next.clear()
        assert (await once(running.url, PATH, chat())).status == 200
    page = (await once(running.url, "/stats")).json()
    assert page["active_requests"] == page["queued_requests"] == page["backends"]["a"]["active"] == 0


async def pair(gateway: StartGateway, first: Engine, second: Engine) -> Gateway:
    return await gateway(
        {
            "backends": {
                "first": {"kind": "vllm", "url": first.url, "probe": "100ms"},
                "second": {"kind": "vllm", "url": second.url, "probe": "100ms"},
            },
            "aliases": {
                "m": {"targets": [{"backends": ["first"], "model": "m"}, {"backends": ["second"], "model": "m"}]}
            },
        }
    )


async def test_a_breaker_opens_rests_and_closes_again(gateway: StartGateway) -> None:
    """After a row of failures the engine is left alone, then tried with one request, then trusted."""
    async with Engine(["m"]) as first, Engine(["m"]) as second:
        running = await pair(gateway, first, second)
        first.script = Script(status=500)
        for _ in range(12):
            assert (await once(running.url, PATH, chat())).status == 200
        tried = len(first.requests)
        assert tried < 12, "every request still went to the broken engine first"
        assert await _breaker(running, "first") != 0
        first.script = Script()
        await _served_by(running, "first")
        assert await _breaker(running, "first") == 0
        assert len(first.requests) > tried


async def test_the_callers_mistakes_never_open_it(gateway: StartGateway) -> None:
    async with Engine(["m"]) as first, Engine(["m"]) as second:
        running = await pair(gateway, first, second)
        bad: dict[str, Any] = {"model": "m", "messages": "no list"}
        for status in (400, 413, 422):
            first.script = Script(status=status)
            for _ in range(4):
                assert (await once(running.url, PATH, chat())).status == status
        first.script = Script()
        for _ in range(8):
            assert (await once(running.url, PATH, bad)).status == 400
        assert await _breaker(running, "first") == 0
        answer = await once(running.url, PATH, {"model": "m", "messages": HELLO})
        assert answer.header("x-penstock-backend") == "first"
        assert not second.requests


async def test_busy_is_not_broken(gateway: StartGateway) -> None:
    async with Engine(["m"]) as first, Engine(["m"]) as second:
        running = await pair(gateway, first, second)
        first.script = Script(status=429, retry_after="30")
        for _ in range(8):
            assert (await once(running.url, PATH, chat())).header("x-penstock-backend") == "second"
        assert len(first.requests) == 1, "it was asked for in peace, and is left in peace"
        assert await _breaker(running, "first") == 2
        answer = await running.until("/ready", lambda page: page["aliases"]["m"])
        assert answer["aliases"]["m"]["targets"][0]["state"] == "ready"


async def _breaker(gateway: Gateway, backend: str) -> float:
    page = (await once(gateway.url, "/metrics")).body.decode()
    rows = [row for row in page.splitlines() if row.startswith("penstock_breaker_state") and f'"{backend}"' in row]
    [row] = rows
    return float(row.rpartition(" ")[2])


async def _served_by(gateway: Gateway, backend: str) -> None:
    """Ask until this backend answers; its rest has an end."""
    answered = ""
    async with asyncio.timeout(LIMIT):
        while answered != backend:
            answered = (await once(gateway.url, PATH, chat())).header("x-penstock-backend") or ""
