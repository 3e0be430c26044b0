"""Row 33: the attempts of a gateway, of its clients, and of both together."""

from __future__ import annotations

import asyncio

from penstock.faults.scenario import Failed, Need, Scenario
from penstock.faults.script import HEALTHY, Script
from penstock.faults.seen import Outcome
from penstock.faults.site import Site, answered, explicit

CLIENTS = 10
REQUESTS = 4
TRIES = 3
"""Of a client that is told an error."""
_OURS = frozenset({Need.PENSTOCK})


async def storm(site: Site) -> None:
    """Both engines fail and every client tries three times: they are asked hardly more often than the clients ask."""
    site.a.script = site.b.script = Script(status=500)

    async def client() -> int:
        asked = 0
        for _ in range(REQUESTS * TRIES):
            explicit(await site.ask(stream=False), Outcome.REFUSED)
            asked += 1
        return asked

    asked = sum(await asyncio.gather(*(client() for _ in range(CLIENTS))))
    attempts = len(site.a.requests) + len(site.b.requests)
    if attempts > asked * 1.2 + 20:
        raise Failed(f"at most 1.2 attempts for each of {asked} requests were expected, the engines saw {attempts}")


async def budget(site: Site) -> None:
    """Errors that rest nobody, and a budget of a tenth and five: no further attempts are made beyond it."""
    limits = {"limits": {"retries": "10%", "retries_reserve": 5}}
    async with site.penstock(limits) as own:
        own.a.script = own.b.script = Script(status=404, message="The model `m` does not exist.")
        asked = 100
        for number in range(asked):
            explicit(await own.ask(stream=number % 2 == 0), Outcome.REFUSED)
        further = len(own.a.requests) + len(own.b.requests) - asked
        denied = await own.metric("penstock_retries_denied_total", {"alias": "m"})
        # five, a tenth of the requests, and half a one for each second that this took
        if not 5 <= further <= 5 + asked // 10 + 10 or further + denied != asked:
            raise Failed(f"about {5 + asked // 10} further attempts for {asked} requests were expected, seen {further}")


async def attempts(site: Site) -> None:
    """One attempt is allowed: an error of A is told, B is not asked."""
    async with site.penstock({"limits": {"attempts": 1}}) as own:
        own.a.script = Script(status=500)
        explicit(await own.ask(stream=False), Outcome.REFUSED)
        if own.b.requests:
            raise Failed("no second attempt was expected, B was asked")
        await own.logged(event="request", status=502, attempts=1)


async def nobody_waits(site: Site) -> None:
    """The client leaves while A is silent: nobody tries B for it, neither at once nor after A's limit."""
    site.a.script = Script(silent=True)
    left = site.asking(stream=True)
    await site.a.seen(1)
    await left.leave()
    await site.a.aborted(1)
    # A second client waits for A's limit; the first one's, which began before, has passed when this is answered.
    answered(await site.ask(stream=True), by=site.b)
    if len(site.b.requests) != 1:
        raise Failed(
            f"B to be asked for the client that waits alone was expected, it saw {len(site.b.requests)} requests"
        )
    await site.counted("penstock_clients_gone_total", 1, {"phase": "asked"})
    await site.logged(event="request", status=499, attempts=1)


async def left_between(site: Site) -> None:
    """The client leaves while its second attempt runs: that one is aborted too, and there is no third."""
    site.a.script = Script(status=500)
    gate = site.b.hold(before=0)
    left = site.asking(stream=True)
    await site.b.seen(1)
    await left.leave()
    await site.b.aborted(1)
    gate.open()
    site.a.script = HEALTHY
    answered(await site.ask(stream=True), by=site.a)
    if len(site.a.requests) != 2 or len(site.b.requests) != 1:
        raise Failed(f"no third attempt was expected, A saw {len(site.a.requests)}, B {len(site.b.requests)} requests")


SCENARIOS = (
    Scenario(33, "storm", storm),
    Scenario(33, "budget", budget, _OURS, own=True),
    Scenario(33, "attempts", attempts, _OURS, own=True),
    Scenario(33, "nobody-waits", nobody_waits),
    Scenario(33, "left-between", left_between),
)
