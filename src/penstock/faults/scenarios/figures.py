"""Row 31: what engines tell of themselves: figures that hang, are huge or garbled, and a health page that lies."""

from __future__ import annotations

import asyncio
import time

from penstock.faults.gateways import eventually
from penstock.faults.scenario import Failed, Need, Scenario
from penstock.faults.script import HEALTHY, Script
from penstock.faults.site import Site, answered

LOOKS = 4
"""Looks at A that a scenario waits for."""
PROMPT = 0.5
"""Seconds within which a healthy engine's answer must have come, whatever figures are read meanwhile."""
_PROBED = {"backends": {"a": {"probe": "100ms"}, "b": {"probe": "100ms"}}}
_OURS = frozenset({Need.PENSTOCK})

GARBLED = (
    b"\x00\xff\xfe" * 5000,
    b"vllm:num_requests_running{" * 40_000,
    b'vllm:num_requests_running{a="b"} 1e999\nvllm:num_requests_waiting NaN\nvllm:kv_cache_usage_perc -7\n',
    b"vllm:num_requests_waiting 9" + b"9" * 400 + b"\n",
    b"<html><body>Bad gateway</body></html>",
    b"",
)


async def hanging(site: Site) -> None:
    """A's figures never come: A answers all the same, and is looked at as often as ever."""
    async with site.penstock(_PROBED) as own:
        own.a.mute.add("/metrics")
        await _looked(own)
        await _serves(own)


async def huge(site: Site) -> None:
    """A's figures are sixty megabytes of series: A answers at once, and no series of them becomes one of ours."""
    row = b'vllm:num_requests_running{engine="%d",model_name="x"} 1.0\n'
    page = b"".join(row % number for number in range(10_000))
    async with site.penstock(_PROBED) as own:
        before = len((await own.get("/metrics")).body)
        own.a.pages["/metrics"] = page * 120
        await _looked(own)
        await _serves(own)
        own.a.pages["/metrics"] = page
        await _looked(own)
        await _serves(own)
        after = len((await own.get("/metrics")).body)
        if after > before + 20_000:
            raise Failed(
                f"figures of our own that do not grow with the engine's were expected, {before} became {after} bytes"
            )


async def garbled(site: Site) -> None:
    """A's figures are no figures: A answers, and what we tell of them are numbers."""
    async with site.penstock(_PROBED) as own:
        for page in GARBLED:
            own.a.pages["/metrics"] = page
            await _looked(own)
            await _serves(own)
        load = await own.metric("penstock_engine_requests_running", {"backend": "a"})
        if not 0 <= load < 1000:
            raise Failed(f"a sane figure was expected, seen {load}")


async def lists(site: Site) -> None:
    """A's list of models is garbled: B answers; it is whole again: A does."""
    async with site.penstock(_PROBED) as own:
        for page in (b"\xff\x00", b'{"data": 7}', b"[" * 100_000, b'{"data": [{"id": 7}]}'):
            own.a.pages["/v1/models"] = page
            await _looked(own, "/v1/models")
            answered(await own.ask(stream=False))
        if not own.b.answered:
            raise Failed("B to stand in for an engine that cannot tell its models was expected")
        own.a.pages.clear()
        await _a_answers(own)


async def lies(site: Site) -> None:
    """A's pages are all well and it generates nothing: B answers, and soon without waiting for A."""
    limits = {"limits": {"first_token": "200ms", "connect": "500ms"}}
    async with site.penstock({**_PROBED, **limits}) as own:
        own.a.script = Script(silent=True)
        for _ in range(5):
            answered(await own.ask())
        seen = answered(await own.ask(), by=own.b)
        if seen.seconds > PROMPT:
            raise Failed(f"an answer without waiting for A was expected, it took {seen.seconds:.2f} s")
        if own.a.answered:
            raise Failed("no answer of A was expected")
        state = await own.metric("penstock_breaker_state", {"backend": "a"})
        if state < 1:
            raise Failed(f"A's breaker to be open in spite of its health was expected, its figure is {state:g}")
        own.a.script = HEALTHY
        await _a_answers(own)


async def _looked(own: Site, page: str = "/metrics") -> None:
    """Until A was asked for this page several times more."""
    before = sum(probe.path == page for probe in own.a.probes)
    await eventually(
        lambda: sum(probe.path == page for probe in own.a.probes) >= before + LOOKS, f"{LOOKS} looks at A's {page}", 20
    )


async def _serves(own: Site) -> None:
    before = own.a.answered
    seen = answered(await own.ask(stream=False))
    if own.a.answered != before + 1:
        raise Failed("an answer of A was expected, seen one of B")
    if seen.seconds > PROMPT:
        raise Failed(f"an answer within {PROMPT:g} s was expected, it took {seen.seconds:.2f} s")


async def _a_answers(own: Site) -> None:
    before, until = own.a.answered, time.monotonic() + 20
    while own.a.answered == before:
        answered(await own.ask(stream=False))
        if time.monotonic() > until:
            raise Failed("A to be asked again was expected")
        await asyncio.sleep(0.05)


SCENARIOS = (
    Scenario(31, "hanging", hanging, _OURS, own=True),
    Scenario(31, "huge", huge, _OURS, own=True),
    Scenario(31, "garbled", garbled, _OURS, own=True),
    Scenario(31, "lists", lists, _OURS, own=True),
    Scenario(31, "lies", lies, _OURS, own=True),
)
