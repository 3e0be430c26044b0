"""Row 3: connections that are reset or closed before a byte of the answer."""

from __future__ import annotations

from penstock.faults.scenario import Failed, Scenario
from penstock.faults.script import Script
from penstock.faults.site import Site, answered


async def reset(site: Site) -> None:
    """A resets every connection once it has read the request: B answers."""
    site.a.script = Script(reset=True)
    for stream in (True, False):
        answered(await site.ask(stream=stream), by=site.b)
    await site.counted("penstock_fallback_total", 2, {"from": "a", "to": "b", "reason": "connect"})
    await site.logged(event="request", backend="b", fallback="connect", outcome="answered")


async def pooled(site: Site) -> None:
    """A closes a kept connection just as the next request comes: that request is answered by A or B, never refused."""
    answered(await site.ask())
    site.a.next.append(Script(reset=True))
    answered(await site.ask())
    if site.ours and site.b.requests:
        raise Failed("one more try at A on a fresh connection was expected, seen a fallback to B")


SCENARIOS = (Scenario(3, "reset", reset), Scenario(3, "pooled", pooled))
