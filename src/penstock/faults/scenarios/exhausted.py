"""Row 30: descriptors, ports, a worker and the processor are gone."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from penstock.faults.askers import asking
from penstock.faults.gateways import free_port
from penstock.faults.injectors.limits import descriptors, used
from penstock.faults.injectors.processor import throttled
from penstock.faults.scenario import Failed, Need, Scenario
from penstock.faults.scenarios.killed import children
from penstock.faults.script import Script
from penstock.faults.seen import Outcome, Seen
from penstock.faults.site import MODEL, WORDS, Site, answered, explicit

_BODY = {"model": MODEL, "messages": [{"role": "user", "content": WORDS}]}
_SPARE = 40
_FLOOD = 120
_WINDOW = 2.0


async def no_descriptors(site: Site) -> None:
    """Idle connections take every descriptor: who streams goes on, new ones are refused or closed, no loop spins, and it ends."""
    site.a.script = Script(count=60, gap=0.05)
    pid = site.process.pid
    stream = site.asking()
    await stream.until("water")
    site.a.script = Script()
    with descriptors(pid, _SPARE):
        async with _flood(site.url):
            began, before = time.monotonic(), used(pid)
            outcomes = [(await site.ask(stream=False, limit=3.0)).outcome for _ in range(3)]
            await asyncio.sleep(max(0.0, began + _WINDOW - time.monotonic()))
            spent = (used(pid) - before) / (time.monotonic() - began)
            if spent > 0.5:
                raise Failed(f"less than half a processor was expected while no descriptor is left, seen {spent:.0%}")
            if Outcome.HUNG in outcomes or Outcome.TRUNCATED in outcomes:
                raise Failed(
                    f"refused or closed connections were expected while no descriptor is left, seen {outcomes}"
                )
            site.notes.append(f"{spent:.0%} of a processor, new clients {'/'.join(sorted(set(outcomes)))}")
        await _recovered(site)
    answered(await stream.seen(limit=20.0), text=None)
    await site.counted("penstock_exhausted_total", 1, {"what": "descriptors"}, at_least=True)
    await site.logged(event="out of descriptors", level="error")
    if site.ours and (said := len(site.records(event="out of descriptors"))) > 2:
        raise Failed(f"a line of the log now and then was expected, seen {said}")


async def told_why(site: Site) -> None:
    """Client connections take all that they may have: the next one is told so with 503 and Retry-After, B is not blamed."""
    async with site.penstock(prefix=("sh", "-c", 'ulimit -n 96; exec "$@"', "sh")) as one:
        async with _flood(one.url, 100):
            seen = await _refused(one)
            if seen.status != 503 or not seen.headers.get("retry-after"):
                raise Failed(f"503 with Retry-After was expected, seen {seen} with {dict(seen.headers)}")
            ollama = await one.ask(face="ollama")
            if ollama.outcome not in {Outcome.REFUSED, Outcome.ANSWERED}:
                raise Failed(f"a refusal in Ollama's words was expected, seen {ollama}")
        await _recovered(one)
        await one.counted("penstock_attempts_failed_total", 0)
        await one.counted("penstock_refused_total", 1, {"code": "overloaded"}, at_least=True)


async def no_worker(site: Site) -> None:
    """SIGKILL to one of two workers, as the kernel does when memory is short: the other goes on, it is started again."""
    async with site.penstock({"workers": 2, "listen": [f"127.0.0.1:{free_port()}"]}) as one:
        one.own.checked = False
        await _workers(one, 2)
        async with asking(one.url, 8, body=_BODY) as askers:
            await asyncio.gather(*(asker.more(3) for asker in askers))
            victim = children(one.process.pid)[1]
            os.kill(victim, signal.SIGKILL)
            await asyncio.gather(*(asker.more(10) for asker in askers))
            await one.logged(event="worker died", status=-9)
            await _workers(one, 2)
            await asyncio.gather(*(asker.more(5) for asker in askers))
        lost = [problem for asker in askers for problem in asker.lost]
        if len(lost) > len(askers):
            raise Failed(
                f"at most the requests on the killed worker were expected to be lost, seen {len(lost)}: {lost[:3]}"
            )
        if victim in children(one.process.pid):
            raise Failed("another process in place of the killed one was expected")
        site.notes.append(f"{len(lost)} of {sum(asker.answered for asker in askers)} requests died with their worker")


async def no_processor(site: Site) -> None:
    """The gateway gets a fraction of a processor: a share of new requests is shed with 503 and Retry-After, until it is over."""
    async with site.penstock({"limits": {"first_token": "20s", "between_tokens": "20s", "total": "40s"}}) as one:
        async with throttled(one.process.pid, stopped=1.3, runs=0.05):
            shed: Seen | None = None
            for _ in range(40):
                tried = await asyncio.gather(*(one.ask(stream=False, limit=25.0) for _ in range(4)))
                shed = next((seen for seen in tried if seen.status == 503), None)
                for seen in tried:
                    _said(seen)
                if shed is not None:
                    break
            if shed is None:
                raise Failed("503 for some was expected of a gateway without a processor, seen answers alone")
            if not shed.headers.get("retry-after"):
                raise Failed(f"Retry-After was expected, seen {dict(shed.headers)}")
        await one.logged(event="the loop is late, requests are refused")
        await one.logged(event="the loop is in time again, nothing is refused for it")
        for _ in range(10):
            answered(await one.ask(stream=False))
        await one.counted("penstock_requests_total", 1, {"status": "503"}, at_least=True)


def _said(seen: Seen) -> None:
    if seen.outcome is not Outcome.ANSWERED:
        explicit(seen)


async def _refused(site: Site) -> Seen:
    """The first answer that is none of an engine; the limit is looked at twice a second."""
    seen = None
    for _ in range(20):
        seen = await site.ask(stream=False, limit=5.0)
        if seen.outcome is not Outcome.ANSWERED:
            return explicit(seen, Outcome.REFUSED)
    raise Failed(f"a refusal was expected with no descriptor left, seen {seen}")


async def _recovered(site: Site) -> None:
    until = time.monotonic() + 10.0
    while (seen := await site.ask(stream=False)).outcome is not Outcome.ANSWERED:
        if time.monotonic() > until:
            raise Failed(f"answers were expected once descriptors are free again, seen {seen}")
        await asyncio.sleep(0.1)


async def _workers(site: Site, count: float) -> None:
    until = time.monotonic() + 30.0
    while await site.figure("penstock_workers") < count:
        if time.monotonic() > until:
            raise Failed(f"{count:g} workers were expected")
        await asyncio.sleep(0.1)


@asynccontextmanager
async def _flood(url: str, count: int = _FLOOD) -> AsyncIterator[None]:
    """Connections that say nothing."""
    parts = urlsplit(url)
    loop = asyncio.get_running_loop()
    opened: list[socket.socket] = []
    try:
        for _ in range(count):
            one = socket.socket()
            one.setblocking(False)  # noqa: FBT003 - the name is the standard library's
            opened.append(one)
            try:
                async with asyncio.timeout(0.5):
                    await loop.sock_connect(one, (parts.hostname, parts.port))
            except (OSError, TimeoutError):
                break
        yield
    finally:
        for one in opened:
            one.close()


_OURS = frozenset({Need.PROCESS, Need.PENSTOCK})
SCENARIOS = (
    Scenario(30, "descriptors", no_descriptors, frozenset({Need.PROCESS})),
    Scenario(30, "descriptors-told", told_why, _OURS, own=True),
    Scenario(30, "worker-killed", no_worker, _OURS, own=True),
    Scenario(30, "processor", no_processor, _OURS, own=True, limit=120.0),
)
