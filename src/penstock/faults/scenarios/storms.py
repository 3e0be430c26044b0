"""Row 25, but for the race for a budget (budgets.py): crowds that come back together, one tenant before others, long prompts before short ones."""

from __future__ import annotations

import asyncio
import hashlib
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from penstock.faults.scenario import Failed, Need, Scenario
from penstock.faults.script import HEALTHY, Script
from penstock.faults.seen import Asking, Outcome, Seen
from penstock.faults.site import Site, answered, explicit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

TENANTS = ("loud", "quiet")
CROWD = 100
_OWN = frozenset({Need.PROCESS, Need.PENSTOCK})


@asynccontextmanager
async def _shared(site: Site, *, slots: int, queue: int) -> AsyncIterator[Site]:
    """Two tenants at one engine."""
    changes: dict[str, Any] = {
        "backends": {"a": {"slots": slots}, "b": None},
        "aliases": {"m": {"targets": [{"backends": ["a"], "model": "m"}]}},
        "callers": {
            one: {"tenant": one, "key_sha256": hashlib.sha256(f"sk-{one}".encode()).hexdigest()} for one in TENANTS
        },
        "limits": {"queue": queue, "queue_wait": "30s", "total": "1m", "first_token": "10s"},
    }
    async with site.penstock(changes) as own:
        yield own


def _ask(site: Site, tenant: str, words: str = "a small question") -> Asking:
    return site.asking(stream=False, words=f"{tenant} {words}", headers={"authorization": f"Bearer sk-{tenant}"})


async def _waits(site: Site, tenant: str, count: int) -> None:
    """Until so many of a tenant's requests wait, as the figure says."""
    until = time.monotonic() + 15.0
    while (seen := await site.metric("penstock_queue_tenant_depth", {"tenant": tenant})) != count:
        if time.monotonic() > until:
            raise Failed(f"{count} waiting requests of {tenant} were expected, seen {seen:g}")
        await asyncio.sleep(0.05)


def _order(site: Site) -> list[str]:
    """Who was served, in the order in which the engine was asked."""
    return [one for request in site.a.requests for one in TENANTS if f'"{one} '.encode() in request.body]


async def starving(site: Site) -> None:
    """One tenant floods the queue with long prompts: another one's requests are each served after one of its own."""
    async with _shared(site, slots=1, queue=100) as own:
        gate = own.a.hold(before=0)
        flood = [_ask(own, "loud", "water " * 1000)]
        await gate.reached()
        flood += [_ask(own, "loud", "water " * 1000) for _ in range(60)]
        await _waits(own, "loud", 60)
        small = [_ask(own, "quiet") for _ in range(5)]
        await _waits(own, "quiet", 5)
        gate.open()
        for asking in small:
            answered(await asking.seen(30.0), text="quiet a small question")
        for asking in flood:
            answered(await asking.seen(60.0), text=None)
        last = max(place for place, one in enumerate(_order(own)) if one == "quiet")
        own.notes.append(f"60 wait before 5 of another tenant, which are served by turn {last + 1}")
        if last > 2 * len(small) + 1:
            raise Failed(f"five small requests among the first twelve were expected, seen the last at {last + 1}")
        await own.logged(event="request", caller="quiet", status=200)
        await _waits(own, "loud", 0)


async def huge_prompt(site: Site) -> None:
    """A tenant's prompts of 100,000 tokens wait for turns: small requests of another are not behind them."""
    async with _shared(site, slots=1, queue=100) as own:
        gate = own.a.hold(before=0)
        first = _ask(own, "loud")
        await gate.reached()
        huge = [_ask(own, "loud", "water " * 80_000) for _ in range(4)]
        await _waits(own, "loud", 4)
        small = [_ask(own, "quiet") for _ in range(20)]
        await _waits(own, "quiet", 20)
        gate.open()
        for asking in (first, *small, *huge):
            seen = await asking.seen(60.0)
            if seen.outcome is Outcome.REFUSED and seen.status == 400:
                continue  # more than the engine's window: its own affair
            answered(seen, text=None)
        order = _order(own)
        # the first one held the slot; one of the long prompts goes with the first turn of its tenant
        before = order[: max(place for place, one in enumerate(order) if one == "quiet")].count("loud")
        own.notes.append(f"{before - 1} of 4 long prompts before 20 small requests")
        if before > 2:
            raise Failed(f"one long prompt at most before the small requests was expected, seen {before - 1}")


async def giving_way(site: Site) -> None:
    """One tenant has filled the queue: another finds a place in it, and what gives way is told so and when to come again."""
    async with _shared(site, slots=1, queue=20) as own:
        gate = own.a.hold(before=0)
        first = _ask(own, "loud")
        await gate.reached()
        flood = [_ask(own, "loud") for _ in range(20)]
        await _waits(own, "loud", 20)
        small = [_ask(own, "quiet") for _ in range(5)]
        await _waits(own, "quiet", 5)
        gate.open()
        for asking in (first, *small):
            answered(await asking.seen(30.0), text=None)
        ends = [await asking.seen(30.0) for asking in flood]
        gave = [seen for seen in ends if seen.outcome is Outcome.REFUSED]
        for seen in gave:
            _told(seen)
        if len(gave) != 5:
            raise Failed(f"five that gave way were expected, seen {len(gave)}")
        await own.logged(event="request", caller="loud", status=503, outcome="refused")
        await own.counted("penstock_refused_total", 5, {"code": "overloaded"})


def _told(seen: Seen) -> Seen:
    """Refused, with words and a time."""
    explicit(seen, Outcome.REFUSED)
    if seen.status not in {429, 503} or not seen.headers.get("retry-after", "").isdecimal():
        raise Failed(f"429 or 503 with Retry-After in seconds was expected, seen: {seen} {dict(seen.headers)}")
    return seen


async def coming_back(site: Site) -> None:
    """100 clients at a full queue do as Retry-After says: they come back spread out, and each is answered."""
    changes: dict[str, Any] = {
        "backends": {"a": {"slots": 4}, "b": None},
        "aliases": {"m": {"targets": [{"backends": ["a"], "model": "m"}]}},
        "limits": {"queue": 20, "queue_wait": "30s", "total": "1m", "first_token": "10s"},
    }
    async with site.penstock(changes) as own:
        own.a.script = Script(gap=0.005)
        tries, told = await _crowd(own)
        own.notes.append(
            f"{CROWD - tries.count(1)} of {CROWD} came again, over {len(set(told))} different seconds, {max(tries)} tries at most"
        )
        if len(told) >= 20 and len(set(told)) < 5:
            raise Failed(f"times to come back that differ were expected, seen {sorted(set(told))}")
        await own.counted("penstock_refused_total", len(told), {"code": "overloaded"})


async def reset(site: Site) -> None:
    """Both engines shed load; a crowd that comes back as it is told finds them unharmed, and each client is answered."""
    for engine in (site.a, site.b):
        engine.script = Script(status=429, retry_after="1")
    for asking in [site.asking(stream=False) for _ in range(CROWD)]:
        _told(await asking.seen())
    asked = len(site.a.requests) + len(site.b.requests)
    for engine in (site.a, site.b):
        engine.script = HEALTHY
    await asyncio.sleep(1.0)
    tries, told = await _crowd(site)
    site.notes.append(
        f"{CROWD} refusals took {asked} requests to engines; {len(told)} more when they were well, {max(tries)} tries at most"
    )
    if asked > 2 * CROWD:
        raise Failed(f"two requests to engines for each refusal at most were expected, seen {asked}")
    await site.logged(event="request", status=429)


async def _crowd(site: Site) -> tuple[list[int], list[int]]:
    """A hundred clients that do as they are told until they are answered: tries of each, and the seconds that were told."""
    told: list[int] = []

    async def client() -> int:
        for tries in range(1, 6):
            seen = await site.ask(stream=False, limit=60.0)
            if seen.outcome is Outcome.ANSWERED:
                return tries
            told.append(int(_told(seen).headers["retry-after"]))
            await asyncio.sleep(told[-1])
        raise Failed("an answer within five tries was expected")

    return list(await asyncio.gather(*(client() for _ in range(CROWD)))), told


SCENARIOS = (
    Scenario(25, "starving", starving, _OWN, own=True),
    Scenario(25, "huge-prompt", huge_prompt, _OWN, own=True),
    Scenario(25, "giving-way", giving_way, _OWN, own=True),
    Scenario(25, "coming-back", coming_back, _OWN, own=True),
    Scenario(25, "reset", reset),
)
