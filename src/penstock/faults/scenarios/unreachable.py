"""Row 1: an engine that is not there."""

from __future__ import annotations

from penstock.faults.scenario import Scenario
from penstock.faults.site import Site, answered


async def refused(site: Site) -> None:
    """Nobody listens at A: B answers, streamed and whole."""
    await site.a.stop()
    for stream in (True, False):
        answered(await site.ask(stream=stream), by=site.b)
    await site.counted("penstock_fallback_total", 2, {"from": "a", "to": "b", "reason": "connect"})
    await site.counted("penstock_attempts_failed_total", 2, {"backend": "a", "reason": "connect"})
    await site.logged(event="request", backend="b", fallback="connect", outcome="answered")


SCENARIOS = (Scenario(1, "refused", refused),)
