"""Row 20: a client that goes away takes its request with it, in every phase, within a second."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack

from penstock.faults.bare import Bare
from penstock.faults.scenario import Failed, Need, Scenario
from penstock.faults.script import Script
from penstock.faults.seen import request
from penstock.faults.site import PATHS, Site, answered

SOON = 1.0
"""Seconds until the engine must know."""


def _faces(site: Site) -> tuple[str, ...]:
    """Others speak OpenAI's protocol alone."""
    return ("openai", "ollama") if site.ours else ("openai",)


async def _gone(site: Site, face: str, *, stream: bool, tokens: int) -> None:
    """Leave when the engine stands before this token; it must learn of it, and nobody else be asked."""
    gate = site.a.hold(before=tokens)
    aborts = len(site.a.aborts)
    asking = site.asking(stream=stream, face=face)
    await gate.reached()
    if tokens and stream:
        await asking.until("water")
    left = time.monotonic_ns()
    await asking.leave()
    try:
        abort = await site.a.aborted(aborts + 1, timeout=5.0)
    except AssertionError:
        raise Failed(f"the engine to be told within {SOON:g} s was expected, it was not within 5 s") from None
    finally:
        gate.open()
        site.a.gates.clear()
    took = (abort.at - left) / 1e9
    site.notes.append(f"{face} {'stream' if stream else 'whole'} after {tokens} tokens: {took * 1000:.1f} ms")
    if took > SOON:
        raise Failed(f"the engine to be told within {SOON:g} s was expected, it took {took:.2f} s")


async def _nothing_left(site: Site, left: int, phase: str) -> None:
    """One record and one count for each that left, no second engine asked, and the next client is served."""
    if site.b.requests:
        raise Failed("nobody to be asked for a client that has left was expected, B was asked")
    await site.a.until(lambda: not site.a.running, "an idle engine")
    await site.counted("penstock_clients_gone_total", left, {"alias": "m", "phase": phase})
    await site.counted("penstock_requests_total", left, {"alias": "m", "status": "499"})
    await site.logged(event="request", status=499, outcome="client gone", backend="a")
    answered(await site.ask(), by=site.a)


async def prefill(site: Site) -> None:
    """The client leaves before the first token, streamed and whole: the engine ends within a second, nobody else is asked."""
    for face in _faces(site):
        for stream in (True, False):
            await _gone(site, face, stream=stream, tokens=0)
    await _nothing_left(site, 2 * len(_faces(site)), "asked")


async def streaming(site: Site) -> None:
    """The client leaves after three tokens: the engine ends within a second."""
    for face in _faces(site):
        await _gone(site, face, stream=True, tokens=3)
    await _nothing_left(site, len(_faces(site)), "streaming")


async def generating(site: Site) -> None:
    """The client leaves while a whole answer is generated: the engine ends within a second."""
    for face in _faces(site):
        await _gone(site, face, stream=False, tokens=5)
    await _nothing_left(site, len(_faces(site)), "asked")


async def stalled(site: Site) -> None:
    """The client leaves a stream that has stalled, by reset: the engine ends within a second."""
    site.a.script = Script(stall_after=2)
    asking = site.asking()
    await asking.until("runs")
    await asking.leave()
    try:
        await site.a.aborted(1, timeout=SOON)
    except AssertionError:
        raise Failed(f"the engine to be told within {SOON:g} s was expected, it was not") from None
    site.a.script = Script()
    await _nothing_left(site, 1, "streaming")


async def unsent(site: Site) -> None:
    """Clients leave in the middle of their head or body: no engine is asked, the next client is served."""
    whole = request(PATHS["openai"], {"model": "m", "messages": []})
    for size in (1, 40, len(whole) - 1):
        async with Bare(site.url) as bare:
            await bare.send(whole[:size])
    answered(await site.ask(), by=site.a)
    if len(site.a.requests) != 1:
        raise Failed(f"one request at the engine was expected, seen {len(site.a.requests)}")


async def retried(site: Site) -> None:
    """The client leaves while its first engine is silent: no second one is asked for it when that fails."""
    site.a.script = Script(silent=True)
    asking = site.asking()
    await site.a.seen(1)
    await asking.leave()
    await site.a.aborted(1, timeout=5.0)
    await asyncio.sleep(1.5)  # longer than the first token's limit: a retry would come now
    if site.b.requests:
        raise Failed("no request at B for a client that has left was expected, seen one")
    await site.counted("penstock_clients_gone_total", 1, {"phase": "asked"})
    await site.logged(event="request", status=499)


async def queued(site: Site) -> None:
    """Clients leave the queue: their places are free at once and no engine is ever asked for them."""
    async with site.penstock({"backends": {"a": {"slots": 1}, "b": None}, "aliases": _ONLY_A}) as own:
        gate = own.a.hold(before=0)
        first = own.asking()
        await gate.reached()
        async with AsyncExitStack() as life:
            for _ in range(5):
                bare = await life.enter_async_context(Bare(own.url))
                await bare.send(
                    request(PATHS["openai"], {"model": "m", "messages": [{"role": "user", "content": "x"}]})
                )
            await _queue(own, 5)
        await _queue(own, 0)
        await own.counted("penstock_clients_gone_total", 5, {"alias": "m", "phase": "queued"})
        await own.logged(event="request", status=499, outcome="client gone", backend="")
        gate.open()
        answered(await first.seen(), by=own.a)
        answered(await own.ask(), by=own.a)
        if len(own.a.requests) != 2:
            raise Failed(f"two requests at the engine were expected, seen {len(own.a.requests)}")


_ONLY_A = {"m": {"targets": [{"backends": ["a"], "model": "m"}]}}


async def _queue(site: Site, count: int) -> None:
    """Until so many wait."""
    until = time.monotonic() + 5.0
    while (depth := await site.metric("penstock_queue_depth")) != count:
        if time.monotonic() > until:
            raise Failed(f"{count} waiting requests were expected, seen {depth:g}")
        await asyncio.sleep(0.05)


SCENARIOS = (
    Scenario(20, "prefill", prefill),
    Scenario(20, "streaming", streaming),
    Scenario(20, "generating", generating),
    Scenario(20, "stalled", stalled),
    Scenario(20, "unsent", unsent),
    Scenario(20, "retried", retried),
    Scenario(20, "queued", queued, frozenset({Need.PENSTOCK}), own=True),
)
