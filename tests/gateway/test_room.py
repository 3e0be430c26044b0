"""Descriptors that run out: clients are told, engines are not blamed, and connections that idle make room."""

from __future__ import annotations

import asyncio
import json
import resource
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from tests.fakes.gateway import Gateway, StartGateway
from tests.fakes.raw import Answer, Raw, once
from tests.gateway.test_life import BODY, config

from penstock.errors import Exhausted
from penstock.faults.engine import Engine
from penstock.gateway import answer, room

LIMIT = 160


async def test_a_client_without_room_is_told_so_in_its_protocol(gateway: StartGateway, scripted_engine: Engine) -> None:
    one = await gateway(config(scripted_engine, limits={"head": "30s"}))
    await lower(one)
    async with crowd(one):
        openai = await until(one, "/v1/chat/completions", 503)
        ollama = await until(one, "/api/chat", 503)
    assert (openai.header("retry-after"), openai.json()["error"]["code"]) == ("1", "overloaded")
    assert isinstance(ollama.json()["error"], str)
    text = (await until(one, "/metrics", 200)).body.decode()
    assert 'penstock_exhausted_total{what="descriptors"}' in text
    assert one.log.count('"out of descriptors"') == 1


async def test_connections_that_idle_make_room(gateway: StartGateway, scripted_engine: Engine) -> None:
    one = await gateway(config(scripted_engine, limits={"head": "300s", "idle": "300s"}))
    await lower(one)
    async with crowd(one):
        await until(one, "/v1/chat/completions", 200)


async def test_the_soft_limit_is_raised_to_the_hard_one(gateway: StartGateway, scripted_engine: Engine) -> None:
    one = await gateway(config(scripted_engine))
    soft, hard = resource.prlimit(one.process.pid, resource.RLIMIT_NOFILE)
    assert soft == hard


@pytest.mark.parametrize("what", sorted(set(room.OURS.values())))
def test_what_is_missing_here_is_no_fault_of_an_engine(what: str) -> None:
    fault = room.exhausted(what)
    assert isinstance(fault, Exhausted)
    assert not answer.counts_against(fault)
    assert (fault.status, fault.retry_after, fault.what) == (503, 1, what)


async def lower(one: Gateway) -> None:
    """As if it had been started with so few."""
    pid = one.process.pid
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (LIMIT, resource.prlimit(pid, resource.RLIMIT_NOFILE)[1]))
    async with asyncio.timeout(30):
        while f"penstock_descriptors_limit {LIMIT}.0" not in (await once(one.url, "/metrics")).body.decode():
            pass


@asynccontextmanager
async def crowd(one: Gateway) -> AsyncIterator[None]:
    """More connections than there is room for."""
    async with AsyncExitStack() as life:
        for _ in range(LIMIT):
            await life.enter_async_context(Raw(one.url))
        yield


async def until(one: Gateway, path: str, status: int) -> Answer:
    """Ask until the answer has this status."""
    body = None if path == "/metrics" else json.loads(BODY)
    async with asyncio.timeout(30):
        while (seen := await once(one.url, path, body)).status != status:
            pass
    return seen
