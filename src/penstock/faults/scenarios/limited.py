"""Row 7: engines that shed load, and say for how long they want to be left alone, or do not."""

from __future__ import annotations

import asyncio
import time
from email.utils import formatdate

from penstock.faults.scenario import Failed, Need, Scenario
from penstock.faults.script import HEALTHY, Script
from penstock.faults.seen import Outcome
from penstock.faults.site import Site, answered, explicit

WAIT = 2
"""Seconds that engines ask for here."""
MANY = 10
_OURS = frozenset({Need.PENSTOCK})


async def seconds(site: Site) -> None:
    """A answers 429 with seconds: B answers, nobody asks A until they have passed, then A answers again."""
    await _left_alone(site, Script(status=429, retry_after=str(WAIT)), "429")


async def date(site: Site) -> None:
    """A answers 429 with a date: the same."""
    await _left_alone(site, Script(status=429, retry_after=formatdate(time.time() + WAIT, usegmt=True)), "429")


async def unavailable(site: Site) -> None:
    """A answers 503 with seconds: the same."""
    await _left_alone(site, Script(status=503, retry_after=str(WAIT)), "5xx")


async def without(site: Site) -> None:
    """A answers 429 without a time: B answers, and no request is sent to A twice."""
    site.a.script = Script(status=429)
    for _ in range(MANY):
        answered(await site.ask(stream=False), by=site.b)
    if len(site.a.requests) > MANY:
        raise Failed(f"one attempt for each of {MANY} requests at most was expected, A saw {len(site.a.requests)}")
    if site.ours and len(site.a.requests) > MANY // 2:
        raise Failed(f"A to be left alone in between was expected, it was asked {len(site.a.requests)} times of {MANY}")


async def everybody(site: Site) -> None:
    """Both ask to be left alone: the client reads 429 and the smaller time, and neither is asked again before."""
    site.a.script = Script(status=429, retry_after="9")
    site.b.script = Script(status=429, retry_after="5")
    for stream in (True, False, True, False):
        seen = explicit(await site.ask(stream=stream), Outcome.REFUSED)
        wait = seen.headers.get("retry-after", "")
        if seen.status != 429 or not wait.isdigit() or not 1 <= int(wait) <= 5:
            raise Failed(f"429 with retry-after of 1 to 5 was expected, seen {seen.status} with {wait!r}")
    asked = len(site.a.requests), len(site.b.requests)
    if asked != (1, 1):
        raise Failed(f"one request for each engine was expected, they saw {asked}")
    await site.logged(event="request", status=429, outcome="refused")


async def unbelievable(site: Site) -> None:
    """A asks for a day: it is left alone, but not for that long."""
    site.a.script = Script(status=429, retry_after="86400")
    answered(await site.ask(stream=False), by=site.b)
    site.b.script = Script(status=429, retry_after="86400")
    seen = explicit(await site.ask(stream=False), Outcome.REFUSED)
    wait = seen.headers.get("retry-after", "")
    if not wait.isdigit() or not 1 <= int(wait) <= 60:
        raise Failed(f"retry-after of a minute at most was expected, seen {wait!r}")


async def storm(site: Site) -> None:
    """Fifty clients meet a 429 at once: B answers each, and A sees no second wave before its time."""
    gate = site.a.hold(before=0)
    first = [site.asking(stream=False) for _ in range(MANY)]
    await site.a.seen(MANY)
    site.a.script = Script(status=429, retry_after=str(WAIT))
    gate.open()
    for one in first:
        answered(await one.seen())
    for seen in await asyncio.gather(*(site.ask(stream=False) for _ in range(MANY * 4))):
        answered(seen)
    refused = len(site.a.requests) - MANY
    for _ in range(MANY):
        answered(await site.ask(stream=False), by=site.b)
    if len(site.a.requests) - MANY != refused:
        raise Failed("no request to A before its time was expected, seen some")


async def _left_alone(site: Site, script: Script, reason: str) -> None:
    site.a.script = script
    began = time.monotonic()
    answered(await site.ask(stream=False), by=site.b)
    site.a.script = HEALTHY
    for _ in range(MANY):
        answered(await site.ask(stream=False))
    # a date is a whole second, so that up to one less may be left of what was meant
    if len(site.a.requests) != 1 and time.monotonic() - began < WAIT - 1:
        raise Failed(f"nobody to ask A for {WAIT} s was expected, it saw {len(site.a.requests)} requests")
    async with asyncio.timeout(WAIT + 10):
        while len(site.a.requests) < 2:
            answered(await site.ask(stream=False))
            await asyncio.sleep(0.05)
    if time.monotonic() - began < WAIT - 1:
        raise Failed(f"nobody to ask A for {WAIT} s was expected, it was asked after {time.monotonic() - began:.2f} s")
    await site.counted("penstock_attempts_failed_total", 1, {"backend": "a", "reason": reason})
    await site.logged(event="request", backend="b", fallback=reason)


SCENARIOS = (
    Scenario(7, "seconds", seconds),
    Scenario(7, "date", date),
    Scenario(7, "unavailable", unavailable),
    Scenario(7, "without", without),
    Scenario(7, "everybody", everybody),
    Scenario(7, "unbelievable", unbelievable, frozenset({Need.PENSTOCK})),
    Scenario(7, "storm", storm),
)
