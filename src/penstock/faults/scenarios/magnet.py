"""Row 10: a replica that fails at once has nothing to do, and so looks like the one with most room."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from penstock.faults.scenario import Failed, Need, Scenario
from penstock.faults.script import HEALTHY, Script
from penstock.faults.site import MODEL, Site, answered

CLIENTS = 6
REQUESTS = 12
"""Of each client, one after the other."""
REPLICAS: Mapping[str, Any] = {
    "aliases": {MODEL: {"targets": [{"backends": ["a", "b"], "model": MODEL}]}},
    "limits": {"retries_reserve": 1000},
}
_OURS = frozenset({Need.PENSTOCK})


async def instant(site: Site) -> None:
    """A fails at once while B is busy: all are answered, and A sees a handful."""
    async with site.penstock(REPLICAS) as own:
        own.a.script, own.b.script = Script(status=500), Script(first=0.02)
        await _clients(own)
        if len(own.a.requests) > CLIENTS * REQUESTS // 4:
            raise Failed(
                f"A to get less than a quarter of {CLIENTS * REQUESTS} requests was expected, it got {len(own.a.requests)}"
            )


async def half(site: Site) -> None:
    """A fails two of three at once, never five in a row, while B is busy: all are answered, and B gets most."""
    async with site.penstock(REPLICAS) as own:
        own.b.script = Script(first=0.02)
        for _ in range(CLIENTS * REQUESTS):
            own.a.next += [Script(status=500), Script(status=502), HEALTHY]
        await _clients(own)
        if len(own.a.requests) > CLIENTS * REQUESTS // 2:
            raise Failed(
                f"A to get less than half of {CLIENTS * REQUESTS} requests was expected, it got {len(own.a.requests)}"
            )


async def _clients(own: Site) -> None:
    async def client(number: int) -> None:
        for turn in range(REQUESTS):
            answered(await own.ask(stream=turn % 2 == 0, headers={"x-session-id": f"{number}.{turn}"}))

    await asyncio.gather(*(client(number) for number in range(CLIENTS)))
    await own.counted("penstock_requests_total", CLIENTS * REQUESTS, {"status": "200"})


SCENARIOS = (Scenario(10, "instant", instant, _OURS, own=True), Scenario(10, "half", half, _OURS, own=True))
