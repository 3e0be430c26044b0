"""Row 9: an engine that is up and whose model is not there: not loaded, asleep, warming up, without the adapter."""

from __future__ import annotations

import asyncio

from penstock.faults.condition import Model
from penstock.faults.engine import Engine
from penstock.faults.scenario import Failed, Need, Scenario
from penstock.faults.script import HEALTHY, Script
from penstock.faults.site import MODEL, Site, answered, explicit

ADAPTER = "sql-adapter"
_OURS = frozenset({Need.PENSTOCK})
_PROBED = {"a": {"probe": "100ms"}, "b": {"probe": "100ms"}}


async def not_loaded(site: Site) -> None:
    """A serves another model (404): B answers."""
    site.a.models = {"other": Model("other")}
    for stream in (True, False):
        answered(await site.ask(stream=stream), by=site.b)
    await site.counted("penstock_fallback_total", 1, {"from": "a", "to": "b", "reason": "not_loaded"})
    await site.counted("penstock_attempts_failed_total", 1, {"backend": "a", "reason": "not_loaded"})
    await site.logged(event="request", backend="b", fallback="not_loaded", outcome="answered")
    await site.logged(event="backend degraded", backend="a")


async def loaded_later(site: Site) -> None:
    """A has lost its model and gets it back: A answers again, without a restart."""
    async with site.penstock({"backends": _PROBED}) as own:
        site.a.models = {}
        answered(await own.ask(), by=site.b)
        await own.logged(event="backend degraded", backend="a")
        site.a.models = {MODEL: Model(MODEL)}
        await _again(own, site.a)


async def loaded_nowhere(site: Site) -> None:
    """Neither engine has the model: an explicit error in the client's protocol."""
    site.a.models = {"other": Model("other")}
    site.b.models = {"other": Model("other")}
    seen = explicit(await site.ask())
    if site.ours and seen.status != 503:
        raise Failed(f"status 503 was expected, seen: {seen}")
    await site.logged(event="request", status=503, outcome="refused")


async def asleep(site: Site) -> None:
    """A sleeps and says so (`/is_sleeping`, `vllm:engine_sleep_state`): B answers at once, and A again once it is awake."""
    async with site.penstock({"backends": _PROBED}) as own:
        site.a.sleeping = True
        site.a.script = Script(silent=True)
        await own.logged(event="backend degraded", backend="a", reason="it sleeps")
        before = len(site.a.requests)
        for stream in (True, False):
            answered(await own.ask(stream=stream), by=site.b)
        if len(site.a.requests) != before:
            raise Failed("no request to the sleeping A was expected, it got one")
        await own.counted("penstock_fallback_total", 2, {"from": "a", "to": "b", "reason": "unhealthy"})
        await own.logged(event="request", backend="b", fallback="unhealthy", attempts=1, outcome="answered")
        site.a.sleeping, site.a.script = False, HEALTHY
        await _again(own, site.a)


async def fell_asleep(site: Site) -> None:
    """A has fallen asleep and nobody knows it yet: its request is not answered, and B answers."""
    site.a.sleeping = True
    site.a.script = Script(silent=True)
    answered(await site.ask(), by=site.b)
    await site.counted("penstock_fallback_total", 1, {"from": "a", "to": "b", "reason": "timeout"})


async def warming_up(site: Site) -> None:
    """A answers 503 while it loads its model: B answers until A is ready, and then A, without a restart."""
    async with site.penstock({"backends": _PROBED}) as own:
        site.a.script = Script(status=503, message="Loading model", retry_after="1")
        site.a.models = {}
        for stream in (True, False):
            answered(await own.ask(stream=stream), by=site.b)
        await own.logged(event="request", backend="b", fallback="5xx", outcome="answered")
        site.a.script = HEALTHY
        site.a.models = {MODEL: Model(MODEL)}
        await _again(own, site.a)


async def unavailable(site: Site) -> None:
    """A answers 503 with Retry-After: B answers."""
    site.a.script = Script(status=503, message="Loading model", retry_after="1")
    for stream in (True, False):
        answered(await site.ask(stream=stream), by=site.b)
    await site.counted("penstock_fallback_total", 2, {"from": "a", "to": "b"})
    await site.logged(event="request", backend="b", fallback="5xx", outcome="answered")


async def adapter_missing(site: Site) -> None:
    """One replica has not loaded an adapter: the other answers for it, and the first still answers for its base model."""
    site.a.models = {MODEL: Model(MODEL)}
    site.b.models = {MODEL: Model(MODEL), ADAPTER: Model(ADAPTER, parent=MODEL)}
    async with site.penstock(_with_adapter()) as own:
        for number in range(6):
            answered(await own.ask(body={"model": ADAPTER}, headers={"x-session-id": f"s{number}"}), by=site.b)
        if any(f'"{ADAPTER}"'.encode() in one.body for one in site.a.requests):
            raise Failed("no request for the adapter at the replica that does not list it was expected, seen one")
        answered(await own.ask(), by=site.a)
        await own.logged(event="request", alias=ADAPTER, backend="b", outcome="answered")


async def adapter_lost(site: Site) -> None:
    """A replica has lost an adapter since it was last looked at (404): the other one answers, and the base model stays where it is."""
    both = {MODEL: Model(MODEL), ADAPTER: Model(ADAPTER, parent=MODEL)}
    site.a.models, site.b.models = dict(both), dict(both)
    async with site.penstock(_with_adapter()) as own:
        del site.a.models[ADAPTER]
        for number in range(12):
            answered(await own.ask(body={"model": ADAPTER}, headers={"x-session-id": f"s{number}"}), by=site.b)
        await own.counted("penstock_attempts_failed_total", 1, {"backend": "a", "reason": "not_loaded"})
        before = len(site.b.requests)
        answered(await own.ask(), by=site.a)
        if len(site.b.requests) != before:
            raise Failed("an answer of A for its base model was expected: only the adapter is gone from there")
        await own.logged(event="request", alias=MODEL, backend="a", fallback="", outcome="answered")


def _with_adapter() -> dict[str, object]:
    target = {"backends": ["a", "b"], "model": ADAPTER}
    return {"aliases": {ADAPTER: {"fallback": "never", "targets": [target]}}}


async def _again(site: Site, engine: Engine) -> None:
    """Until this engine is asked again."""
    before = len(engine.requests)
    async with asyncio.timeout(30):
        while len(engine.requests) == before:
            answered(await site.ask())
            await asyncio.sleep(0.05)
    await site.logged(event="backend ready", backend="a")


SCENARIOS = (
    Scenario(9, "not-loaded", not_loaded),
    Scenario(9, "loaded-later", loaded_later, needs=_OURS, own=True),
    Scenario(9, "loaded-nowhere", loaded_nowhere),
    Scenario(9, "asleep", asleep, needs=_OURS, own=True),
    Scenario(9, "fell-asleep", fell_asleep),
    Scenario(9, "warming-up", warming_up, needs=_OURS, own=True),
    Scenario(9, "unavailable", unavailable),
    Scenario(9, "adapter-missing", adapter_missing, needs=_OURS, own=True),
    Scenario(9, "adapter-lost", adapter_lost, needs=_OURS, own=True),
)
