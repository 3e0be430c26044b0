"""Row 29: the wall clock is set, an hour ahead, an hour back, over the change to summer time, while answers are under way."""

from __future__ import annotations

import asyncio
import re
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from penstock.faults.injectors.clock import Clock
from penstock.faults.scenario import Failed, Need, Scenario
from penstock.faults.script import Script
from penstock.faults.seen import Outcome, Seen
from penstock.faults.site import MODEL, Site, answered, explicit

_HOUR = 3600.0
_STEPS = (_HOUR, -_HOUR, 0.0)
_UTC = re.compile(r"^2026-03-29T0[01]:\d\d:\d\d\.\d+Z$")


async def streams(site: Site) -> None:
    """Steps of an hour, either way, during a stream: it goes on, and its record and the uptime know no hour."""
    site.a.script = Script(gap=0.1)
    async with _stepped(site) as (one, clock):
        stream = one.asking()
        for step, word in zip(_STEPS, ("water", "penstock", "turbines"), strict=True):
            await stream.until(word)
            clock.step(step)
        answered(await stream.seen(), by=site.a)
        record = await one.logged(event="request", backend="a", outcome="answered")
        uptime = (await one.get("/stats")).events[0]["uptime_seconds"]
        if not 0.5 < record["seconds"] < 30 or not 0 < uptime < 60:
            raise Failed(f"seconds of a monotonic clock were expected, seen {record['seconds']} and uptime {uptime}")


async def limits(site: Site) -> None:
    """Steps of an hour while A stalls, is silent, or has no slot: each limit passes after its own second, not now or never."""
    changes: dict[str, object] = {"limits": {"queue_wait": "1s"}, "aliases": {MODEL: {"slots": 1}}}
    async with _stepped(site, changes) as (one, clock):
        for step in (_HOUR, -_HOUR):
            site.a.script = Script(stall_after=3)
            began = time.monotonic()
            stalled = one.asking()
            await stalled.until("water")
            clock.step(step)
            _took(explicit(await stalled.seen(), Outcome.BROKEN), began, f"between_tokens, step {step:+g} s")
            clock.step(0)

            site.a.script = Script(silent=True)
            began = time.monotonic()
            silent = one.asking()
            await site.a.until(lambda: site.a.running == 1, "a request at A")
            clock.step(step)
            _took(answered(await silent.seen(), by=site.b), began, f"first_token, step {step:+g} s")
            clock.step(0)
            site.b.answered = 0

            site.a.script = Script(count=200, gap=0.05)
            holder = one.asking()
            await holder.until("water")
            began = time.monotonic()
            queued = one.asking()
            await _figure(one, "penstock_queue_depth", 1.0)
            clock.step(step)
            _took(explicit(await queued.seen(), Outcome.REFUSED), began, f"queue_wait, step {step:+g} s")
            clock.step(0)
            await holder.leave()
            await site.a.until(lambda: not site.a.running, "an idle A")


async def breaker(site: Site) -> None:
    """A fails until its breaker opens, and the clock goes back an hour: A is tried again a second later all the same."""
    async with _stepped(site) as (one, clock):
        site.a.script = Script(status=500)
        for _ in range(6):
            answered(await one.ask(stream=False), by=site.b)
        await _figure(one, "penstock_breaker_state", 1.0, backend="a")
        clock.step(-_HOUR)
        site.a.script = Script()
        site.a.answered = 0
        until = time.monotonic() + 15.0
        while not site.a.answered:
            if time.monotonic() > until:
                raise Failed("a trial at A soon after its breaker opened was expected, seen none in 15 s")
            await one.ask(stream=False)
            await asyncio.sleep(0.1)


async def drain(site: Site) -> None:
    """SIGTERM, and the clock goes back an hour: the drain ends after its two seconds with an explicit error."""
    site.a.script = Script(count=2000, gap=0.05)
    async with _stepped(site) as (one, clock):
        one.own.checked = False
        stream = one.asking()
        await stream.until("water")
        began = time.monotonic()
        one.process.signal(signal.SIGTERM)
        await one.logged(event="draining")
        clock.step(-_HOUR)
        explicit(await stream.seen(), Outcome.BROKEN)
        if (took := time.monotonic() - began) > 10.0 or took < 1.0:
            raise Failed(f"an end about two seconds after SIGTERM was expected, seen {took:.1f} s")
        if status := await one.process.ended():
            raise Failed(f"status 0 was expected, seen {status}")


async def summer_time(site: Site) -> None:
    """A stream over the hour that summer time leaves out: it goes on, and the log counts in UTC."""
    site.a.script = Script(gap=0.15)
    async with _stepped(site, zone="Europe/Berlin") as (one, clock):
        stream = one.asking()
        await stream.until("water")
        clock.pretend("2026-03-29 01:59:59")
        answered(await stream.seen(), by=site.a)
        await one.logged(event="request", backend="a", time=_UTC)


@asynccontextmanager
async def _stepped(
    site: Site, changes: dict[str, object] | None = None, zone: str = "UTC"
) -> AsyncIterator[tuple[Site, Clock]]:
    clock = Clock(site.folder)
    async with site.penstock(changes, env={**clock.env, "TZ": zone}) as one:
        yield one, clock


def _took(seen: Seen, began: float, what: str) -> None:
    took = time.monotonic() - began
    if not 0.8 < took < 5.0:
        raise Failed(f"about a second was expected for {what}, seen {took:.2f} s: {seen}")


async def _figure(site: Site, name: str, value: float, **labels: str) -> None:
    until = time.monotonic() + 5.0
    while (seen := await site.metric(name, labels)) < value:
        if time.monotonic() > until:
            raise Failed(f"{name} of {value:g} or more was expected, seen {seen:g}")
        await asyncio.sleep(0.05)


_NEEDS = frozenset({Need.PROCESS, Need.PENSTOCK, Need.FAKETIME})
SCENARIOS = (
    Scenario(29, "streams", streams, _NEEDS, own=True),
    Scenario(29, "limits", limits, _NEEDS, own=True),
    Scenario(29, "breaker", breaker, _NEEDS, own=True),
    Scenario(29, "drain", drain, _NEEDS, own=True),
    Scenario(29, "summer-time", summer_time, _NEEDS, own=True),
)
