"""Row 32: replicas go and come while conversations run on them: which conversations move, counted."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from penstock.faults.askers import asking, nothing_lost
from penstock.faults.engine import Engine
from penstock.faults.gateways import Config, free_port
from penstock.faults.scenario import Failed, Need, Scenario
from penstock.faults.site import MODEL, WORDS, Site, answered, merged

REPLICAS = 4
SESSIONS = 120
_AT_ONCE = 4
_BODY = {"model": MODEL, "messages": [{"role": "user", "content": "and what of a load without a conversation?"}]}
Homes = Mapping[int, str]


async def moved(site: Site) -> None:
    """One of four replicas goes and comes back under load: the conversations on it move, of the others no more than load moves."""
    names = [f"r{number}" for number in range(REPLICAS)]
    async with _fleet(site, names) as one, asking(one.url, _AT_ONCE, body=_BODY) as askers:
        everything = one.own.config
        await _homes(one)
        before = await _homes(one)
        again = await _homes(one)
        by_load = _changed(before, again, set(names))
        spread = {name: sum(home == name for home in again.values()) for name in names}
        if min(spread.values()) < SESSIONS // (3 * REPLICAS):
            raise Failed(f"conversations on all replicas were expected, seen {spread}")

        gone = names[-1]
        await _reload(one, everything, names[:-1])
        without = await _homes(one)
        fell = sum(home == gone for home in again.values())
        others = _changed(again, without, set(names[:-1]))
        _bounded("one replica goes", others, by_load)
        if gone in without.values():
            raise Failed(f"no conversation on {gone} was expected after it went")

        await _reload(one, everything, names)
        back = await _homes(one)
        came = _changed(without, back, set(names[:-1]))
        if came > SESSIONS // REPLICAS + _overflow(by_load):
            raise Failed(
                f"at most 1/{REPLICAS} of the conversations and what load moves were expected to move when a replica comes, seen {came}"
            )
        for asker in askers:
            asker.stopping = True
        nothing_lost(askers)
        site.notes.append(
            f"{SESSIONS} conversations on {REPLICAS} replicas: load alone moved {by_load}; one went: its {fell} moved and {others} others; "
            f"it came back: {came} moved; {sum(asker.answered for asker in askers)} other requests, none lost"
        )


def _bounded(what: str, seen: int, by_load: int) -> None:
    if seen > _overflow(by_load):
        raise Failed(
            f"at most {_overflow(by_load)} conversations that had another home were expected to move when {what}, seen {seen}"
        )


def _overflow(by_load: int) -> int:
    """What load moves, and room for a moment that has more of it."""
    return 2 * by_load + SESSIONS // 20


def _changed(before: Homes, after: Homes, among: set[str]) -> int:
    """How many of those that lived on one of these live elsewhere now."""
    return sum(after[session] != home for session, home in before.items() if home in among)


async def _homes(site: Site) -> Homes:
    """One turn of every conversation, a few at a time: who answered."""
    homes: dict[int, str] = {}
    waiting = list(range(SESSIONS))

    async def turn() -> None:
        while waiting:
            session = waiting.pop()
            words = f"conversation {session}: {WORDS}"
            seen = answered(
                await site.ask(stream=False, headers={"x-session-id": f"s{session}"}, words=words), text=words
            )
            homes[session] = seen.headers["x-penstock-backend"]

    async with asyncio.TaskGroup() as group:
        for _ in range(_AT_ONCE):
            group.create_task(turn())
    return homes


async def _reload(site: Site, everything: Config, names: list[str]) -> None:
    """Only these replicas are left of the configuration."""
    target = {"targets": [{"backends": names, "model": MODEL}]}
    backends = {name: one for name, one in everything["backends"].items() if name in names}
    site.own.write(
        {**everything, "backends": backends, "aliases": {MODEL: merged(everything["aliases"][MODEL], target)}}
    )
    done = await site.metric("penstock_config_reloads_total", {"result": "done"})
    site.process.signal(signal.SIGHUP)
    await site.counted("penstock_config_reloads_total", done + 1, {"result": "done"})


@asynccontextmanager
async def _fleet(site: Site, names: list[str]) -> AsyncIterator[Site]:
    async with AsyncExitStack() as life:
        engines = [await life.enter_async_context(Engine([MODEL])) for _ in names]
        backends: dict[str, Any] = {
            name: {"kind": "vllm", "url": engine.url} for name, engine in zip(names, engines, strict=True)
        }
        yield await life.enter_async_context(
            site.penstock(
                {
                    "listen": [f"127.0.0.1:{free_port()}"],
                    "backends": {**backends, "a": None, "b": None},
                    "aliases": {MODEL: {"targets": [{"backends": names, "model": MODEL}]}},
                }
            )
        )


_OURS = frozenset({Need.PROCESS, Need.PENSTOCK})
SCENARIOS = (Scenario(32, "sessions", moved, _OURS, own=True, limit=120.0),)
