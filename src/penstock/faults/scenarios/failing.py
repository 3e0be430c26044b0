"""Row 6: an engine that answers with errors: once, always, in a burst, every other time."""

from __future__ import annotations

import asyncio

from penstock.faults.scenario import Failed, Need, Scenario
from penstock.faults.script import HEALTHY, Script
from penstock.faults.site import Site, answered

BURST = 30
AT_ONCE = 10
TRIP = 5
"""Failures in a row after which an engine is left alone."""
_OURS = frozenset({Need.PENSTOCK})


async def once(site: Site) -> None:
    """A answers one request with 500: B answers it, A the next one."""
    for stream in (True, False):
        site.a.next.append(Script(status=500))
        answered(await site.ask(stream=stream), by=site.b)
        answered(await site.ask(stream=stream), by=site.a)
    await site.counted("penstock_fallback_total", 2, {"from": "a", "to": "b", "reason": "5xx"})
    await site.counted("penstock_attempts_failed_total", 2, {"backend": "a", "reason": "5xx"})
    await site.logged(event="request", backend="b", fallback="5xx", outcome="answered")


async def always(site: Site) -> None:
    """A answers everything with 503: B answers all of it, and A is asked less and less."""
    site.a.script = Script(status=503)
    for _ in range(BURST):
        answered(await site.ask(stream=False), by=site.b)
    if len(site.a.requests) > BURST // 2:
        raise Failed(f"A to be left alone was expected, it was asked {len(site.a.requests)} times of {BURST}")
    if site.ours:
        await _state(site, 2.0)


async def burst(site: Site) -> None:
    """A answers many at once with 500: B answers each of them."""
    site.a.script = Script(status=500)
    for seen in await asyncio.gather(*(site.ask(stream=number % 2 == 0) for number in range(BURST))):
        answered(seen, by=site.b)
    await site.counted("penstock_requests_total", BURST, {"backend": "b", "status": "200"})


async def comes_back(site: Site) -> None:
    """A recovers: it is asked again by itself, and then answers as before."""
    site.a.script = Script(status=500)
    for _ in range(TRIP):
        answered(await site.ask(stream=False), by=site.b)
    site.a.script = HEALTHY
    await _until_a_answers(site)
    for _ in range(5):
        before = site.a.answered
        answered(await site.ask(stream=False))
        if site.a.answered != before + 1:
            raise Failed("A to answer every request again was expected, seen one that B answered")


async def one_trial(site: Site) -> None:
    """A is tried again with one request, however many come meanwhile; B answers those."""
    site.a.script = Script(status=500)
    for _ in range(TRIP):
        answered(await site.ask(stream=False), by=site.b)
    asked = len(site.a.requests)
    site.a.script = HEALTHY
    gate = site.a.hold(before=0)
    trial: list[asyncio.Task[object]] = []
    async with asyncio.timeout(20):
        while len(site.a.requests) == asked:
            trial.append(asyncio.create_task(site.ask(stream=False)))
            await asyncio.wait([trial[-1]], timeout=0.1)
        await gate.reached()
        for seen in await asyncio.gather(*(site.ask(stream=False) for _ in range(AT_ONCE))):
            answered(seen, by=site.b)
    if len(site.a.requests) != asked + 1:
        raise Failed(f"one request to try A with was expected, seen {len(site.a.requests) - asked}")
    gate.open()
    await asyncio.gather(*trial)


async def flapping(site: Site) -> None:
    """A fails every other time, so never often in a row: B answers those, and A is left alone for a while all the same."""
    for _ in range(BURST):
        site.a.next += [Script(status=500), HEALTHY]
    for _ in range(BURST):
        answered(await site.ask(stream=False))
    if site.ours:
        await _state(site, 2.0)
        if len(site.a.requests) > BURST - AT_ONCE:
            raise Failed(f"A to be left alone was expected, it was asked {len(site.a.requests)} times of {BURST}")


async def relapse(site: Site) -> None:
    """A recovers and fails again at once: the second rest begins sooner than the first."""
    site.a.script = Script(status=500)
    for _ in range(TRIP):
        answered(await site.ask(stream=False), by=site.b)
    site.a.script = HEALTHY
    await _until_a_answers(site)
    asked = len(site.a.requests)
    site.a.script = Script(status=500)
    for _ in range(TRIP):
        answered(await site.ask(stream=False), by=site.b)
    if len(site.a.requests) - asked >= TRIP:
        raise Failed(
            f"A on probation to be left alone after two failures was expected, seen {len(site.a.requests) - asked}"
        )


async def _until_a_answers(site: Site) -> None:
    before = site.a.answered
    async with asyncio.timeout(20):
        while site.a.answered == before:
            answered(await site.ask(stream=False))
            await asyncio.sleep(0.05)


async def _state(site: Site, expected: float) -> None:
    seen = await site.metric("penstock_breaker_state", {"backend": "a"})
    if seen < expected - 1:  # half open where its rest has just passed
        raise Failed(f"a breaker that is not closed was expected, its figure is {seen:g}")


SCENARIOS = (
    Scenario(6, "once", once),
    Scenario(6, "always", always),
    Scenario(6, "burst", burst),
    Scenario(6, "comes-back", comes_back),
    Scenario(6, "one-trial", one_trial, _OURS),
    Scenario(6, "flapping", flapping),
    Scenario(6, "relapse", relapse, _OURS),
)
