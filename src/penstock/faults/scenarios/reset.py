"""Row 3: connections that are reset or closed before a byte of the answer."""

from __future__ import annotations

from penstock.faults.injectors.listeners import rude
from penstock.faults.scenario import Failed, Scenario
from penstock.faults.script import Script
from penstock.faults.site import Site, answered

CLOSED = Script(cut_after=0, cut="fin", late_head=True)
"""The request is read and the connection closed, without a byte of an answer."""


async def at_once(site: Site) -> None:
    """A accepts every connection and resets it at once: B answers."""
    await site.a.stop()
    async with rude(site.a.port, "rst"):
        for stream in (True, False):
            answered(await site.ask(stream=stream), by=site.b)
    await site.counted("penstock_fallback_total", 2, {"from": "a", "to": "b"})
    await site.logged(event="request", backend="b", fallback="connect", attempts=2, outcome="answered")


async def once_read(site: Site) -> None:
    """A resets every connection once it has read the request: B answers."""
    site.a.script = Script(reset=True)
    for stream in (True, False):
        answered(await site.ask(stream=stream), by=site.b)
    await _told(site, 2)


async def closed(site: Site) -> None:
    """A closes every connection (FIN) once it has read the request: B answers."""
    site.a.script = CLOSED
    for stream in (True, False):
        answered(await site.ask(stream=stream), by=site.b)
    await _told(site, 2)


async def idle(site: Site) -> None:
    """A closes the connections that are kept for the next request, as vLLM does after 5 s: A answers the next one."""
    answered(await site.ask(), by=site.a)
    site.a.close_idle()
    answered(await site.ask())
    _no_fallback(site)


async def pooled_reset(site: Site) -> None:
    """A resets a kept connection just as the next request comes on it: that one is sent once more, on a fresh connection."""
    await _pooled(site, Script(reset=True))


async def pooled_closed(site: Site) -> None:
    """A closes a kept connection (FIN) just as the next request comes on it: that one is sent once more, on a fresh one."""
    await _pooled(site, CLOSED)


async def pooled_twice(site: Site) -> None:
    """The fresh connection is reset too: B answers, and A has been asked twice, not again and again."""
    answered(await site.ask(), by=site.a)
    site.a.script = Script(reset=True)
    answered(await site.ask(), by=site.b)
    if site.ours and len(site.a.requests) != 3:
        raise Failed(f"three requests at A were expected, the last two of them the same; seen {len(site.a.requests)}")
    await _told(site, 1)


async def _pooled(site: Site, script: Script) -> None:
    for stream in (True, False):
        before = len(site.a.requests)
        answered(await site.ask(stream=stream), by=site.a)
        site.a.next.append(script)
        answered(await site.ask(stream=stream))
        asked = list(site.a.requests)[before:]
        if not site.ours:
            continue
        _no_fallback(site)
        if len(asked) != 3 or asked[1].body != asked[2].body or asked[1].connection == asked[2].connection:
            raise Failed(f"the same request on a fresh connection was expected, A was asked {len(asked)} times")
    await site.counted("penstock_requests_total", 4, {"backend": "a", "status": "200"})
    await site.counted("penstock_attempts_failed_total", 0, {"backend": "a"})
    await site.logged(event="request", backend="a", attempts=1, outcome="answered")


def _no_fallback(site: Site) -> None:
    if site.ours and site.b.requests:
        raise Failed("an answer of A was expected, seen a fallback to B")


async def _told(site: Site, count: int) -> None:
    await site.counted("penstock_fallback_total", count, {"from": "a", "to": "b", "reason": "connect"})
    await site.counted("penstock_attempts_failed_total", count, {"backend": "a", "reason": "connect"})
    await site.logged(event="request", backend="b", fallback="connect", attempts=2, outcome="answered")


SCENARIOS = (
    Scenario(3, "reset-at-once", at_once),
    Scenario(3, "reset-once-read", once_read),
    Scenario(3, "closed-once-read", closed),
    Scenario(3, "idle-closed", idle),
    Scenario(3, "pooled-reset", pooled_reset),
    Scenario(3, "pooled-closed", pooled_closed),
    Scenario(3, "pooled-reset-twice", pooled_twice),
)
