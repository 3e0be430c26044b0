"""Rows 1 and 2: an engine that is not there, by its port, by its name, or by the silence of its host."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from penstock.faults.engine import Engine
from penstock.faults.injectors.listeners import black_hole
from penstock.faults.injectors.names import Names, names
from penstock.faults.scenario import Failed, Need, Scenario
from penstock.faults.seen import Seen
from penstock.faults.site import MODEL, Site, answered, explicit

NAME = "engine-a.penstock.test"
BOUND = 4.0
"""Seconds within which B must have answered: the connect limit and plenty for a busy machine, and less than the total limit."""
_OURS = frozenset({Need.PENSTOCK, Need.ROOT})


async def refused(site: Site) -> None:
    """Nobody listens at A: B answers, streamed and whole, in both protocols."""
    await site.a.stop()
    await _fallen(site)


async def nobody(site: Site) -> None:
    """Nobody listens anywhere: an error status in the client's protocol, at once."""
    await site.a.stop()
    await site.b.stop()
    for stream in (True, False):
        seen = explicit(await site.ask(stream=stream))
        if seen.status not in {502, 503, 500}:
            raise Failed(f"status 502 or 503 was expected, seen: {seen}")
    await site.counted("penstock_attempts_failed_total", 2, {"reason": "connect"}, at_least=True)
    await site.logged(event="request", outcome="refused", status=502)


async def returns(site: Site) -> None:
    """A is gone and comes back: requests go to A again, without a restart of the gateway."""
    if not site.ours:
        await _returns(site)
        return
    async with site.penstock({"backends": {"a": {"probe": "200ms"}}}) as own:
        await _returns(own)


async def _returns(site: Site) -> None:
    await site.a.stop()
    answered(await site.ask(), by=site.b)
    await site.a.start()
    async with asyncio.timeout(30):
        while not site.a.requests:
            answered(await site.ask())
            await asyncio.sleep(0.1)


async def unknown(site: Site) -> None:
    """A's pod is gone and its name with it (NXDOMAIN): B answers."""
    async with _named(site) as named:
        await site.a.stop()
        del named.names.addresses[NAME]
        await _fallen(named.site)


async def broken_names(site: Site) -> None:
    """A is gone and the name server says that it has failed itself (SERVFAIL): B answers."""
    async with _named(site) as named:
        await site.a.stop()
        named.names.broken = True
        await _fallen(named.site)


async def silent_names(site: Site) -> None:
    """A is gone and the name server never answers: B answers once the connect limit has passed."""
    async with _named(site) as named:
        await site.a.stop()
        named.names.silent = True
        answered(await _soon(named.site), by=site.b)
        await named.site.logged(event="request", backend="b", fallback="connect", outcome="answered")


async def never_known(site: Site) -> None:
    """A's name has never existed: the gateway starts all the same, and B answers."""
    async with _named(site, known=False) as named:
        answered(await named.site.ask(), by=site.b)
        await named.site.counted("penstock_fallback_total", 1, {"from": "a", "to": "b", "reason": "unhealthy"})
        await named.site.logged(event="request", backend="b", fallback="unhealthy", outcome="answered")


async def moved(site: Site) -> None:
    """A's pod moves to another address: its old connections break, its name is asked again, and A answers there."""
    async with _named(site) as named:
        answered(await named.site.ask(), by=site.a)
        await _move(named, "127.0.0.2")
        answered(await named.site.ask())
        if site.b.requests or len(site.a.requests) != 2:
            raise Failed("an answer of A at its new address was expected, seen a fallback to B")
        await named.site.logged(event="request", backend="a", fallback="", outcome="answered")


async def stale(site: Site) -> None:
    """A's pod has moved and the name server still tells the old address: B answers until the name has moved too, then A."""
    async with _named(site, probe="200ms") as named:
        answered(await named.site.ask(), by=site.a)
        await _move(named, "127.0.0.2", told=False)
        answered(await named.site.ask(), by=site.b)
        await named.site.counted("penstock_fallback_total", 1, {"from": "a", "to": "b"})
        named.names.addresses[NAME] = ["127.0.0.2"]
        before = len(site.a.requests)
        async with asyncio.timeout(30):
            while len(site.a.requests) == before:
                answered(await named.site.ask())
                await asyncio.sleep(0.1)


async def no_answer_to_syn(site: Site) -> None:
    """No SYN to A is answered: B answers once the connect limit has passed, streamed and whole."""
    await site.a.stop()
    with black_hole(site.a.port):
        for stream in (True, False):
            answered(await _soon(site, stream=stream), by=site.b)
    await _told(site, 2)


async def no_answer_to_twenty(site: Site) -> None:
    """No SYN to A is answered, for twenty clients at once: B answers all, and none waits for another."""
    await site.a.stop()
    with black_hole(site.a.port):
        for seen in await asyncio.gather(*(_soon(site) for _ in range(20))):
            answered(seen, by=site.b)
    await site.counted("penstock_requests_total", 20, {"backend": "b", "status": "200"})


async def no_answer_anywhere(site: Site) -> None:
    """No SYN is answered anywhere: an explicit error within the limits."""
    await site.a.stop()
    await site.b.stop()
    with black_hole(site.a.port), black_hole(site.b.port):
        explicit(await _soon(site))
    await site.logged(event="request", outcome="refused", status=502, attempts=2)


@dataclass(frozen=True, slots=True)
class _Named:
    """A site whose A is known by its name."""

    site: Site
    names: Names
    a: Engine


@asynccontextmanager
async def _named(site: Site, *, known: bool = True, probe: str = "60s") -> AsyncIterator[_Named]:
    async with names(site.folder) as (server, prefix):
        if known:
            server.addresses[NAME] = [site.a.host]
        url = f"http://{NAME}:{site.a.port}"
        async with site.penstock({"backends": {"a": {"url": url, "probe": probe}}}, prefix=prefix) as own:
            yield _Named(own, server, site.a)


async def _move(named: _Named, host: str, *, told: bool = True) -> None:
    """A ends and comes back at another address; `told`: its name moves with it."""
    await named.a.stop()
    named.a.host = host
    await named.a.start()
    if told:
        named.names.addresses[NAME] = [host]


async def _fallen(site: Site) -> None:
    """Four requests, all answered by B, and told as that."""
    for face in ("openai", "ollama") if site.ours else ("openai",):
        for stream in (True, False):
            answered(await site.ask(stream=stream, face=face), by=site.b)
    await _told(site, 4)


async def _told(site: Site, count: int) -> None:
    """So many fallbacks: the first because A could not be reached, later ones for that or because A is known to be down."""
    await site.counted("penstock_fallback_total", count, {"from": "a", "to": "b"})
    await site.counted("penstock_fallback_total", 1, {"reason": "connect"}, at_least=True)
    await site.counted("penstock_attempts_failed_total", 1, {"backend": "a", "reason": "connect"}, at_least=True)
    await site.logged(event="request", backend="b", model=MODEL, fallback="connect", attempts=2, outcome="answered")


async def _soon(site: Site, *, stream: bool = True) -> Seen:
    seen = await site.ask(stream=stream)
    if site.ours and seen.seconds > BOUND:
        raise Failed(f"an end within {BOUND:g} s was expected, seen: {seen}")
    return seen


SCENARIOS = (
    Scenario(1, "refused", refused),
    Scenario(1, "nobody", nobody),
    Scenario(1, "returns", returns),
    Scenario(1, "nxdomain", unknown, needs=_OURS, own=True),
    Scenario(1, "servfail", broken_names, needs=_OURS, own=True),
    Scenario(1, "silent-names", silent_names, needs=_OURS, own=True),
    Scenario(1, "never-known", never_known, needs=_OURS, own=True),
    Scenario(1, "moved", moved, needs=_OURS, own=True),
    Scenario(1, "stale-name", stale, needs=_OURS, own=True),
    Scenario(2, "black-hole", no_answer_to_syn),
    Scenario(2, "black-hole-for-twenty", no_answer_to_twenty),
    Scenario(2, "black-holes", no_answer_anywhere),
)
