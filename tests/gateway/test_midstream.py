"""A begun stream whose engine fails, where its alias goes on: who is asked, with which slot, and who is not."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from tests.fakes.gateway import Gateway, StartGateway
from tests.fakes.openai import openai_engine
from tests.fakes.raw import Answer, Raw, once

from penstock.faults.engine import Engine
from penstock.faults.script import Script

TOKENS = ("The", " gate", " opens", " and", " the", " drop", " falls", ".")
TEXT = "".join(TOKENS)
SAID = Script(tokens=TOKENS)
DYING = Script(tokens=TOKENS, cut_after=4)
GREEDY: dict[str, Any] = {
    "model": "m",
    "messages": [{"role": "user", "content": "go"}],
    "stream": True,
    "temperature": 0,
}
CHAT = "/v1/chat/completions"


@pytest_asyncio.fixture
async def pair() -> AsyncIterator[tuple[Engine, Engine]]:
    """Two engines that say the same; the next requests go by one queue of scripts, whichever gets them."""
    async with Engine(["m"], script=SAID) as a, Engine(["m"], script=SAID) as b:
        a.next = b.next = deque()
        yield a, b


async def started(
    gateway: StartGateway,
    pair: tuple[Engine, Engine],
    *,
    kind: str = "vllm",
    midstream: str = "continue",
    slots: int = 8,
    **limits: str,
) -> Gateway:
    backends = {name: {"kind": kind, "url": one.url, "slots": slots} for name, one in zip("ab", pair, strict=True)}
    alias = {"midstream": midstream, "targets": [{"backends": ["a", "b"], "model": "m"}]}
    found = await gateway({"backends": backends, "aliases": {"m": alias}, "limits": limits})
    await found.until("/ready", lambda page: page["status"] == "ready")
    return found


def text(answer: Answer) -> str:
    events = [json.loads(event.removeprefix(b"data: ")) for event in answer.events if b"[DONE]" not in event]
    return "".join(choice["delta"].get("content") or "" for one in events for choice in one.get("choices", ()))


def error(answer: Answer) -> str:
    return str(json.loads(answer.events[-1].removeprefix(b"data: "))["error"]["message"])


async def figure(gateway: Gateway, name: str) -> float:
    page = (await once(gateway.url, "/metrics")).body.decode()
    return sum(float(line.rpartition(" ")[2]) for line in page.splitlines() if line.startswith(name))


async def test_the_rest_waits_for_a_slot(gateway: StartGateway, pair: tuple[Engine, Engine]) -> None:
    """Each engine has one; the one that dies gives its back, the other's is taken: it goes on when that is free."""
    running = await started(gateway, pair, slots=1)
    gates = [engine.hold(before=6) for engine in pair]
    async with Raw(running.url) as held, Raw(running.url) as stream:
        held.ask(CHAT, GREEDY)
        await held.until(TOKENS[5].encode())
        other = pair[1] if pair[0].running else pair[0]
        stream.ask(CHAT, GREEDY)
        await stream.until(TOKENS[5].encode())
        await other.stop()
        while not await figure(running, "penstock_queue_depth"):
            continue
        for gate in gates:
            gate.open()
        assert text(await stream.answer()) == text(await held.answer()) == TEXT
    await other.start()
    assert await figure(running, "penstock_requests_active") == 0
    assert await figure(running, 'penstock_midstream_total{alias="m",how="tokens",outcome="joined"}') == 1


async def test_no_slot_in_time_is_an_error(gateway: StartGateway, pair: tuple[Engine, Engine]) -> None:
    running = await started(gateway, pair, slots=1, queue_wait="300ms")
    gates = [engine.hold(before=6) for engine in pair]
    async with Raw(running.url) as held:
        held.ask(CHAT, GREEDY)
        await held.until(TOKENS[5].encode())
        other = pair[1] if pair[0].running else pair[0]
        async with Raw(running.url) as stream:
            stream.ask(CHAT, GREEDY)
            await stream.until(TOKENS[5].encode())
            await other.stop()
            assert "no slot came free in time" in error(await stream.answer())
        for gate in gates:
            gate.open()
        assert text(await held.answer()) == TEXT
    await other.start()
    await running.until("/ready", lambda page: page["status"] == "ready")
    assert await figure(running, "penstock_requests_active") == 0
    assert await figure(running, "penstock_queue_depth") == 0


async def test_a_client_that_leaves_while_it_waits_frees_its_place(
    gateway: StartGateway, pair: tuple[Engine, Engine]
) -> None:
    running = await started(gateway, pair, slots=1)
    gates = [engine.hold(before=6) for engine in pair]
    async with Raw(running.url) as held:
        held.ask(CHAT, GREEDY)
        await held.until(TOKENS[5].encode())
        other = pair[1] if pair[0].running else pair[0]
        async with Raw(running.url) as stream:
            stream.ask(CHAT, GREEDY)
            await stream.until(TOKENS[5].encode())
            await other.stop()
            while await figure(running, "penstock_queue_depth") < 1:
                continue
        while await figure(running, "penstock_queue_depth"):
            continue
        for gate in gates:
            gate.open()
        assert text(await held.answer()) == TEXT
    await other.start()


@pytest.mark.parametrize(("midstream", "kind", "whole"), [("restart", "openai", True), ("continue", "openai", False)])
async def test_kinds(gateway: StartGateway, midstream: str, kind: str, *, whole: bool) -> None:
    """`restart` takes every engine that speaks OpenAI's protocol; `continue` vLLM alone, and says so."""
    async with openai_engine(["m"], script=SAID) as a, openai_engine(["m"], script=SAID) as b:
        a.next = b.next = deque([DYING])
        running = await started(gateway, (a, b), kind=kind, midstream=midstream)
        answer = await once(running.url, CHAT, GREEDY)
        assert text(answer) == TEXT if whole else "OpenAI is not asked to go on" in error(answer)


async def test_other_routes_end_in_their_error(gateway: StartGateway, pair: tuple[Engine, Engine]) -> None:
    running = await started(gateway, pair)
    for path, body in (
        ("/v1/responses", {"input": "go"}),
        ("/v1/messages", {"messages": GREEDY["messages"], "max_tokens": 50}),
    ):
        pair[0].next.append(DYING)
        answer = await once(running.url, path, {"model": "m", "stream": True, **body})
        assert b"error" in answer.events[-1]
        assert len(pair[0].requests) + len(pair[1].requests) == 1
        for engine in pair:
            engine.requests.clear()


async def test_nothing_shows_that_ids_were_asked_for(gateway: StartGateway, pair: tuple[Engine, Engine]) -> None:
    """The same bytes as without `midstream`, but for the id and the time."""
    running = await started(gateway, pair)
    plain = await started(gateway, pair, midstream="error")
    answers = [await once(one.url, CHAT, GREEDY) for one in (running, plain)]
    bare = []
    for answer in answers:
        events = [json.loads(event.removeprefix(b"data: ")) for event in answer.events if b"[DONE]" not in event]
        bare.append([{**event, "id": "", "created": 0} for event in events])
    assert bare[0] == bare[1]


async def test_ollama_face_restarts(gateway: StartGateway, pair: tuple[Engine, Engine]) -> None:
    running = await started(gateway, pair, midstream="restart")
    body = {"model": "m", "messages": GREEDY["messages"]}
    whole = (await once(running.url, "/api/chat", body)).body
    pair[0].next.append(DYING)
    joined = (await once(running.url, "/api/chat", body)).body
    told = [[json.loads(line)["message"]["content"] for line in one.splitlines()] for one in (whole, joined)]
    assert told[0] == told[1]
    assert json.loads(joined.splitlines()[-1])["eval_count"] == len(TOKENS)


async def test_whole_answers_are_as_before(gateway: StartGateway, pair: tuple[Engine, Engine]) -> None:
    running = await started(gateway, pair)
    answer = await once(running.url, CHAT, {**GREEDY, "stream": False})
    assert answer.json()["choices"][0]["message"]["content"] == TEXT
    assert b"return_token_ids" not in (pair[0].requests or pair[1].requests)[0].body
