"""Row 26: SIGTERM while answers are under way, a second signal, and a process that takes the place of another."""

from __future__ import annotations

import asyncio
import signal
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

from penstock.faults.askers import asking, nothing_lost
from penstock.faults.gateways import Config, Penstock, eventually, free_port
from penstock.faults.scenario import Failed, Need, Scenario
from penstock.faults.script import Script
from penstock.faults.seen import Asking, Outcome
from penstock.faults.site import MODEL, WORDS, Site, answered, explicit

BODY = {"model": MODEL, "messages": [{"role": "user", "content": WORDS}]}
_SLOW = Script(gap=0.08)
"""The thirteen tokens take a second: less than the drain."""
_ENDLESS = Script(count=2000, gap=0.05)
_EACH = 15
_CROWD = 200


async def finishes(site: Site) -> None:
    """SIGTERM during streams and a whole answer: nobody new is let in, all that began ends whole, then status 0."""
    site.a.script = _SLOW
    begun = await _begun(site)
    site.process.signal(signal.SIGTERM)
    await eventually(lambda: not _accepts(site.url), "a listener that is closed after SIGTERM")
    for one in begun:
        answered(await one.seen())
    await _ended_well(site)
    _recorded(site, len(begun), outcome="answered")


async def deadline(site: Site) -> None:
    """SIGTERM, and answers that outlast the drain: each ends in an explicit error of its protocol, then status 0."""
    site.a.script = _ENDLESS
    begun = await _begun(site)
    began = time.monotonic()
    site.process.signal(signal.SIGTERM)
    for one in begun:
        explicit(await one.seen(limit=20.0))
    took = time.monotonic() - began
    await _ended_well(site)
    if site.ours and took < 1.5:
        raise Failed(f"two seconds for what is under way were expected, seen {took:.2f} s")
    _recorded(site, 2, outcome="broken")
    _recorded(site, 1, outcome="refused")


async def backlog(site: Site) -> None:
    """SIGTERM while two hundred connections wait in the accept queue of a process that had no time for them: all are answered."""
    site.process.signal(signal.SIGSTOP)
    waiting = [site.asking(stream=False) for _ in range(_CROWD)]
    await eventually(
        lambda: _established(site.url) >= _CROWD, "connections that the kernel accepts for a stopped process"
    )
    site.process.signal(signal.SIGTERM)
    site.process.signal(signal.SIGCONT)
    for one in waiting:
        answered(await one.seen(limit=30.0))
    await _ended_well(site)
    _recorded(site, _CROWD, outcome="answered")


async def twice(site: Site) -> None:
    """A second SIGTERM changes nothing; a second SIGINT ends the drain, and streams end in an explicit error at once."""
    site.a.script = _ENDLESS
    async with site.penstock({"limits": {"drain": "60s", "total": "60s"}}) as mine:
        mine.own.checked = False
        one = mine.asking()
        await one.until("water")
        mine.process.signal(signal.SIGTERM)
        await mine.logged(event="draining")
        mine.process.signal(signal.SIGTERM)
        before = len(one.body)
        await eventually(lambda: len(one.body) > before + 2000, "a stream that goes on after a second SIGTERM")
        mine.process.signal(signal.SIGINT)
        explicit(await one.seen(), Outcome.BROKEN)
        await _ended_well(mine)


async def rolling(site: Site) -> None:
    """New processes take over, twice, under load on kept and fresh connections: not one request is lost."""
    await _roll(site, workers=1)


async def rolling_workers(site: Site) -> None:
    """The same with two workers in each."""
    await _roll(site, workers=2)


async def _roll(site: Site, workers: int) -> None:
    address = f"127.0.0.1:{free_port()}"
    site.a.script = Script(gap=0.01)
    async with site.penstock({"listen": [address], "workers": workers, "limits": {"drain": "10s"}}) as mine:
        mine.own.checked = False
        async with asking(mine.url, 6, body=BODY) as askers:
            await asyncio.gather(*(asker.more(_EACH) for asker in askers))
            async with _successor(mine.own.config, mine.folder / "second") as second:
                await _replaced(mine.own)
                await asyncio.gather(*(asker.more(_EACH) for asker in askers))
                async with _successor(mine.own.config, mine.folder / "third"):
                    await _replaced(second)
                    await asyncio.gather(*(asker.more(_EACH) for asker in askers))
                    for asker in askers:
                        asker.stopping = True
                    await asyncio.gather(*(asker.ended() for asker in askers))
        nothing_lost(askers)
        if repeated := sum(asker.repeated for asker in askers):
            raise Failed(f"no kept connection that ends without a word was expected, seen {repeated}")
        site.notes.append(f"{sum(asker.answered for asker in askers)} requests through two changes of process")


@asynccontextmanager
async def _successor(config: Config, folder: Path) -> AsyncIterator[Penstock]:
    """A process with the same configuration that takes over from whoever serves now."""
    folder.mkdir()  # noqa: ASYNC240 - one call to a local disk
    one = Penstock(config, folder)
    one.command = (*one.command, "--takeover")
    await one.start()
    try:
        await one.ready()
        yield one
    finally:
        await one.kill()


async def _replaced(former: Penstock) -> None:
    if status := await former.ended(25.0):
        raise Failed(f"status 0 of the process that was replaced was expected, seen {status}")


async def _begun(site: Site) -> list[Asking]:
    """A stream of each protocol that has begun, and a whole answer that the engine works on."""
    streams = [site.asking(), site.asking(face="ollama")] if site.ours else [site.asking(), site.asking()]
    for one in streams:
        await one.until("water")
    whole = site.asking(stream=False)
    await site.a.until(lambda: site.a.running == len(streams) + 1, "three requests at A")
    return [*streams, whole]


async def _ended_well(site: Site) -> None:
    status = await site.process.ended()
    if site.ours and status:
        raise Failed(f"status 0 at the end was expected, seen {status}")
    if site.ours:
        site.own.checked = False


def _recorded(site: Site, count: int, **fields: object) -> None:
    """The log of a process that has ended has so many records of requests like this."""
    if site.ours and (seen := len(site.records(event="request", **fields))) != count:
        raise Failed(f"{count} records with {fields} were expected, seen {seen}")


def _established(url: str) -> int:
    """Connections to this port that the kernel has accepted, whether the process knows of them or not."""
    port = f":{urlsplit(url).port or 80:04X}"
    rows = [line.split() for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]]
    return sum(row[1].endswith(port) and row[3] == "01" for row in rows)


def _accepts(url: str) -> bool:
    parts = urlsplit(url)
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex((parts.hostname or "", parts.port or 80)) == 0


_PROCESS = frozenset({Need.PROCESS})
_OURS = frozenset({Need.PROCESS, Need.PENSTOCK})
SCENARIOS = (
    Scenario(26, "sigterm", finishes, _PROCESS),
    Scenario(26, "drain-deadline", deadline, _PROCESS),
    Scenario(26, "accept-queue", backlog, _PROCESS),
    Scenario(26, "second-signal", twice, _OURS, own=True),
    Scenario(26, "rolling-restart", rolling, _OURS, own=True),
    Scenario(26, "rolling-restart-workers", rolling_workers, _OURS, own=True, limit=120.0),
)
