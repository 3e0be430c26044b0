"""A real gateway over four scripted replicas: conversations stay, a hot beginning spreads, what a replica held goes with it."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack

import pytest_asyncio
from tests.fakes.gateway import Gateway, StartGateway
from tests.fakes.raw import Raw, once
from tests.gateway.fleets import Still, config, vllm

from penstock.faults.condition import Model
from penstock.faults.engine import Engine
from penstock.gateway.prefix import Sent, Trip, prompt

CHATS = 16
Turns = list[dict[str, str]]


class Fleet:
    """One alias over four replicas."""

    def __init__(self, gateway: Gateway, engines: dict[str, Engine]) -> None:
        self.gateway = gateway
        self.engines = engines

    async def ask(self, turns: Sequence[dict[str, str]], *headers: str) -> str:
        """Who answered; the answer becomes part of the conversation."""
        body = {"model": "m", "messages": list(turns), "stream": True}
        answer = await once(self.gateway.url, "/v1/chat/completions", body, *headers)
        assert answer.status == 200, answer.body
        return answer.header("x-penstock-backend") or ""

    async def states(self, **wanted: str) -> None:
        await self.gateway.until(
            "/stats", lambda page: all(page["backends"][name]["state"] == state for name, state in wanted.items())
        )


@pytest_asyncio.fixture
async def fleet(gateway: StartGateway) -> AsyncIterator[Fleet]:
    async with AsyncExitStack() as life:
        engines = {
            f"gpu-{number}": await life.enter_async_context(Engine([Model("m", window=100_000)])) for number in range(4)
        }
        running = await gateway(
            {
                "backends": {
                    name: {"kind": "vllm", "url": engine.url, "probe": "100ms"} for name, engine in engines.items()
                },
                "aliases": {"m": {"targets": [{"backends": list(engines), "model": "m"}]}},
            }
        )
        yield Fleet(running, engines)


def said(number: int, length: int) -> str:
    return random.Random(number).randbytes(length // 2).hex()


async def converse(fleet: Fleet, chats: list[Turns], turns: int) -> list[str]:
    """So many turns of each, in turn; who answers each of them."""
    owners = [""] * len(chats)
    for turn in range(turns):
        for number, chat in enumerate(chats):
            chat.append({"role": "user", "content": said(1000 * number + turn, 1200)})
            # every other conversation has a name, the others are known by their words
            owner = await fleet.ask(chat, *((f"x-session-id: chat {number}",) if number % 2 else ()))
            assert turn == 0 or owner == owners[number]
            owners[number] = owner
            chat.append({"role": "assistant", "content": said(1000 * number + 500 + turn, 800)})
    return owners


async def test_conversations_stay_where_they_were_read_and_move_only_with_their_replica(fleet: Fleet) -> None:
    """X15: a replica that goes moves its own conversations alone (fault 32); when it returns it holds nothing."""
    chats: list[Turns] = [[{"role": "system", "content": said(-1, 600)}] for _ in range(CHATS)]
    before = await converse(fleet, chats, 3)
    assert min(Counter(before)[name] for name in fleet.engines) >= 2

    gone = before[0]
    await fleet.engines[gone].stop()
    await fleet.states(**{gone: "down"})
    after = await converse(fleet, chats, 2)
    assert gone not in after
    moved = [number for number in range(CHATS) if after[number] != before[number]]
    assert moved == [number for number in range(CHATS) if before[number] == gone]

    await fleet.engines[gone].start()
    await fleet.states(**{gone: "ready"})
    assert await converse(fleet, chats, 1) == after
    new = await converse(fleet, [[{"role": "system", "content": said(-2 - number, 3000)}] for number in range(8)], 1)
    assert gone in new


async def test_a_hot_beginning_is_read_by_as_many_replicas_as_it_takes(fleet: Fleet) -> None:
    """Forty requests with one beginning of 8 KiB, none of which ends."""
    gates = [engine.hold(before=1) for engine in fleet.engines.values()]
    hot = said(7, 8192)
    async with AsyncExitStack() as life:
        clients = []
        for number in range(40):
            raw = await life.enter_async_context(Raw(fleet.gateway.url))
            turns = [{"role": "system", "content": hot}, {"role": "user", "content": f"question {number}"}]
            raw.ask("/v1/chat/completions", {"model": "m", "messages": turns, "stream": True})
            clients.append(raw)
        running = list(fleet.engines.values())
        await fleet.gateway.until("/livez", lambda _: sum(engine.running for engine in running) == len(clients))
        carried = [engine.running for engine in running]
        assert min(carried) >= 6, carried
        assert max(carried) <= 15, carried
        for gate in gates:
            gate.open()
        answers = await asyncio.gather(*(raw.answer() for raw in clients))
        assert {answer.status for answer in answers} == {200}


async def test_tenants_with_the_same_words_are_told_apart() -> None:
    """X15: what one tenant's prompt left in a replica draws no other tenant there."""
    sent = {"a": Sent(), "b": Sent()}
    body = b'{"messages":[' + said(8, 8192).encode()
    Trip(prompt("one", "m", "chat", body)).begin(sent["a"], 0.0)
    assert sent["a"].known(prompt("one", "m", "chat", body)) > 8000
    assert sent["a"].known(prompt("two", "m", "chat", body)) == 0


async def test_an_engine_that_began_anew_between_two_looks_holds_nothing() -> None:
    """Its count of prompt tokens is smaller than it was."""
    asked = prompt("t", "m", "chat", b'{"messages":[' + b"x" * 4000)
    async with Engine(["m"]) as engine:
        fleet = Still(config({"gpu": vllm(engine.url)}, [(["gpu"], "m")]))
        backend = fleet.backends["gpu"]
        engine._prompted = 100
        await fleet.look()
        Trip(asked).begin(backend.sent, 0.0)
        await fleet.look()
        assert backend.sent.knows(asked.session)
        engine._prompted = 3
        await fleet.look()
        assert not backend.sent.knows(asked.session)
        Trip(asked).begin(backend.sent, 0.0)
        await engine.stop()
        await fleet.look()
        assert backend.sent.known(asked) == 0
        fleet.close()
