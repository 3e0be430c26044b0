"""Rows 4 and 5: an engine that accepts and does not answer, or too slowly."""

from __future__ import annotations

import asyncio

from penstock.faults.injectors.listeners import rude
from penstock.faults.scenario import Failed, Need, Scenario
from penstock.faults.script import Script
from penstock.faults.seen import Seen
from penstock.faults.site import Site, answered, explicit

TOTAL = 6.0
"""The total limit of the default configuration."""
BOUND = 5.0
"""Seconds within which B must have answered a stream: less than the total limit, so that it was not that which passed."""
_OURS = frozenset({Need.PENSTOCK})


async def mute(site: Site) -> None:
    """A reads a request for a stream and never answers: B answers after the first limit, and A's request is aborted."""
    site.a.script = Script(silent=True)
    answered(await _within(site, BOUND), by=site.b)
    await site.a.aborted(1)
    await _told(site)


async def mute_whole(site: Site) -> None:
    """A reads a request for a whole answer and never answers: B answers within the total limit."""
    site.a.script = Script(silent=True)
    answered(await _within(site, TOTAL, stream=False), by=site.b)
    await site.a.aborted(1)
    await _told(site)


async def mute_listener(site: Site) -> None:
    """A accepts connections and never reads them: B answers after the first limit."""
    await site.a.stop()
    async with rude(site.a.port, "mute"):
        answered(await _within(site, BOUND), by=site.b)
    await _told(site)


async def mute_for_many(site: Site) -> None:
    """A never answers ten clients at once: B answers each, no request waits longer for the others."""
    site.a.script = Script(silent=True)
    for seen in await asyncio.gather(*(_within(site, BOUND) for _ in range(10))):
        answered(seen, by=site.b)
    await site.counted("penstock_requests_total", 10, {"backend": "b", "status": "200"})


async def mute_everywhere(site: Site) -> None:
    """Neither engine ever answers: an explicit error within the total limit, streamed or whole; both requests are aborted."""
    site.a.script = site.b.script = Script(silent=True)
    for number, stream in enumerate((True, False), start=1):
        explicit(await _within(site, TOTAL + 2, stream=stream))
        await site.a.aborted(number)
        await site.b.aborted(number)
    await site.counted("penstock_attempts_failed_total", 4, {"reason": "timeout"})
    await site.logged(event="request", status=504, outcome="refused")


async def slow_head(site: Site) -> None:
    """A's head comes byte by byte, too slowly: B answers once the limit to the first token has passed."""
    site.a.script = Script(head_gap=0.05)
    answered(await _within(site, BOUND), by=site.b if site.ours else None)
    await _told(site)


async def slow_first_token(site: Site) -> None:
    """A's head and role come at once and no token: B answers once the limit to the first token has passed; A is aborted."""
    site.a.script = Script(first=30)
    answered(await _within(site, BOUND), by=site.b)
    await site.a.aborted(1)
    await _told(site)


async def patience(site: Site) -> None:
    """One alias waits long for the first token and another does not: A answers the one, B the other."""
    site.a.script = Script(first=1.6)
    targets = [{"backends": ["a"], "model": "m"}, {"backends": ["b"], "model": "m"}]
    aliases = {"patient": {"first_token": "5s", "targets": targets}, "m": {"first_token": "300ms"}}
    async with site.penstock({"aliases": aliases}) as own:
        answered(await own.ask(body={"model": "patient"}), by=site.a)
        if site.b.requests:
            raise Failed("an answer of A within the alias' own limit was expected, seen a fallback")
        seen = answered(await own.ask(), by=site.b)
        if seen.seconds > 1.5:
            raise Failed(f"an answer of B after the alias' own limit of 0.3 s was expected, seen: {seen}")
        await own.counted("penstock_attempts_failed_total", 1, {"backend": "a", "reason": "timeout"})
        await own.logged(event="request", alias="patient", backend="a", fallback="", outcome="answered")
        await own.logged(event="request", alias="m", backend="b", fallback="timeout", outcome="answered")


async def total(site: Site) -> None:
    """A's answer takes longer than the alias' total limit: a stream ends in an explicit error, and A is aborted."""
    site.a.script = Script(gap=0.2, count=100)
    async with site.penstock({"aliases": {"m": {"total": "1500ms"}}}) as own:
        explicit(await own.ask())
        await site.a.aborted(1)
        await own.counted("penstock_streams_broken_total", 1, {"backend": "a", "reason": "timeout"})
        await own.logged(event="request", alias="m", outcome="broken")


async def _within(site: Site, bound: float, *, stream: bool = True) -> Seen:
    seen = await site.ask(stream=stream)
    if site.ours and seen.seconds > bound:
        raise Failed(f"an end within {bound:g} s was expected, seen: {seen}")
    return seen


async def _told(site: Site) -> None:
    await site.counted("penstock_fallback_total", 1, {"from": "a", "to": "b", "reason": "timeout"})
    await site.counted("penstock_attempts_failed_total", 1, {"backend": "a", "reason": "timeout"})
    await site.logged(event="request", backend="b", fallback="timeout", attempts=2, outcome="answered")


SCENARIOS = (
    Scenario(4, "mute", mute),
    Scenario(4, "mute-whole", mute_whole),
    Scenario(4, "mute-listener", mute_listener),
    Scenario(4, "mute-for-ten", mute_for_many),
    Scenario(4, "mute-everywhere", mute_everywhere),
    Scenario(5, "slow-head", slow_head),
    Scenario(5, "slow-first-token", slow_first_token),
    Scenario(5, "limit-per-alias", patience, needs=_OURS, own=True),
    Scenario(5, "total", total, needs=_OURS, own=True),
)
