"""Row 14, its other half: the engine's machine goes away without a FIN or a RST, as if somebody had pulled its cable."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from penstock.faults.injectors.cable import Cable, cable
from penstock.faults.scenario import Failed, Need, Scenario
from penstock.faults.seen import Outcome
from penstock.faults.site import WORDS, Site, answered, explicit

_PATIENCE = {"total": "60s", "first_token": "40s"}
"""Limits beyond what the kernel needs to notice."""
_NOTICED = 30.0


async def pulled(site: Site) -> None:
    """The cable of A is pulled in mid-stream: an explicit error within `between_tokens`; the next request is B's in time."""
    async with _behind_a_cable(site, {}) as (own, line):
        gate = site.a.hold(before=3)
        asking = own.asking()
        await asking.until("through")
        await line.pull()
        gate.open()
        seen = explicit(await asking.seen(), Outcome.BROKEN)
        if not seen.text or not WORDS.startswith(seen.text):
            raise Failed(f"the beginning of {WORDS!r} was expected, seen {seen}")
        for stream in (True, False):
            answered(await own.ask(stream=stream, limit=_NOTICED), by=site.b)
        await own.counted("penstock_streams_broken_total", 1, {"backend": "a", "reason": "timeout"})
        await own.logged(event="request", backend="a", outcome="broken", status=200)
        await own.logged(event="request", backend="b", outcome="answered")


async def pulled_whole(site: Site) -> None:
    """It is pulled while A makes a whole answer, which may take a minute: the kernel notices in seconds, B answers."""
    async with _behind_a_cable(site, _PATIENCE) as (own, line):
        gate = site.a.hold(before=0)
        asking = own.asking(stream=False)
        await gate.reached()
        await line.pull()
        began = time.monotonic()
        answered(await asking.seen(_NOTICED + 10), by=site.b)
        took = time.monotonic() - began
        gate.open()
        if took > _NOTICED:
            raise Failed(f"B's answer within {_NOTICED:g} s was expected, it took {took:.1f} s")
        own.notes.append(f"noticed after {took:.1f} s")
        await own.counted("penstock_fallback_total", 1, {"from": "a", "to": "b", "reason": "connect"})
        await own.logged(event="request", backend="b", fallback="connect", outcome="answered")


async def pooled(site: Site) -> None:
    """It is pulled while a connection to A waits for its next request: that request is B's within its first-token limit."""
    async with _behind_a_cable(site, {}) as (own, line):
        answered(await own.ask(), by=site.a)
        await line.pull()
        seen = answered(await own.ask(), by=site.b)
        own.notes.append(f"answered after {seen.seconds:.1f} s")
        await own.counted("penstock_fallback_total", 1, {"from": "a", "to": "b", "reason": "timeout"})
        await own.logged(event="request", backend="b", fallback="timeout", outcome="answered")


@asynccontextmanager
async def _behind_a_cable(site: Site, limits: dict[str, str]) -> AsyncIterator[tuple[Site, Cable]]:
    async with (
        cable(site.a.port) as (line, url),
        site.penstock({"backends": {"a": {"kind": "vllm", "url": url, "probe": "60s"}}, "limits": limits}) as own,
    ):
        yield own, line


_NEEDS = frozenset({Need.PENSTOCK, Need.ROOT})

SCENARIOS = (
    Scenario(14, "cable", pulled, _NEEDS, own=True),
    Scenario(14, "cable-whole", pulled_whole, _NEEDS, own=True, limit=120.0),
    Scenario(14, "cable-pooled", pooled, _NEEDS, own=True),
)
