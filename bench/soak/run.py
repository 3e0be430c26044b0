"""One soak: the gateway as a process, engines and clients in this one, and steady streams from the load generator in C.

The pace is set by the gateway's own CPU clock: steady streams are added until it uses its share, and taken away above it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from bench import measure
from bench.build import Programs
from bench.processes import free_port, running
from bench.soak import gateway as watched
from bench.soak.clients import LIMIT, MODEL, Clients, Tally
from bench.soak.engines import Moody
from bench.soak.gateway import KEYS, Records, Sample, configuration
from bench.soak.streams import Streams
from bench.soak.verdicts import Check, Rest, Steady, checks
from penstock.faults.gateways import Config, Penstock

ENGINES = 3
SAMPLE_SECONDS = 2.0
RELOAD_SECONDS = 30.0
QUIET_SECONDS = 8.0
"""After which the pools have closed what nobody uses."""
SETTLE_SECONDS = 30.0
LONG_SECONDS = 60.0
"""Between two words about how it goes."""

Note = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    seconds: float
    share: float
    rate: float
    """Requests a second of the clients."""
    seed: int


class Soaked(NamedTuple):
    """Everything seen."""

    samples: list[Sample]
    checks: list[Check]
    tally: Tally
    steady: Steady
    records: Records
    faults: int
    reloads: int


async def soak(plan: Plan, built: Programs, folder: Path, note: Note) -> Soaked:
    dice = random.Random(plan.seed)  # noqa: S311 - reproducible, not secret
    async with AsyncExitStack() as stack:
        engines = [await stack.enter_async_context(Moody((MODEL,), dice)) for _ in range(ENGINES)]
        port = free_port()
        stack.enter_context(running([str(built.engine), str(port)], cpu=1, log=folder / "engine.log"))
        urls = tuple(engine.url for engine in engines)
        calm, own = f"http://127.0.0.1:{port}", free_port()
        configs = [configuration(urls, calm, own, folder, odd=odd) for odd in (False, True)]
        penstock = Penstock(configs[0], folder)
        await penstock.start()
        stack.push_async_callback(penstock.kill)
        await penstock.ready()
        records = Records(penstock.errors)
        clients = Clients(penstock.url, KEYS, dice)
        before = await _warmed(penstock, clients)
        note(f"the gateway is process {penstock.pid}; at rest {before}")
        samples, steady, reloads = await _load(plan, built, penstock, clients, records, configs, note)
        after = await _rest(penstock, before)
        await penstock.stop()
        records.read()
        found = checks(samples, (before, after), clients.tally, steady, records)
        return Soaked(samples, found, clients.tally, steady, records, sum(engine.faults for engine in engines), reloads)


async def _warmed(penstock: Penstock, clients: Clients) -> Rest:
    """How it is at rest after it has done a little of everything once."""
    clients.rate = 50.0
    await clients.run(asyncio.get_running_loop().time() + 2.0)
    await asyncio.sleep(QUIET_SECONDS)
    return await _resting(penstock)


async def _resting(penstock: Penstock) -> Rest:
    page = await watched.status(penstock)
    return Rest(watched.descriptors(penstock.pid), page["tasks"])


async def _rest(penstock: Penstock, before: Rest) -> Rest:
    """The same afterwards, as soon as it is no more than before."""
    loop = asyncio.get_running_loop()
    until = loop.time() + SETTLE_SECONDS
    while True:
        await asyncio.sleep(1.0)
        seen = await _resting(penstock)
        if (seen.descriptors <= before.descriptors and seen.tasks <= before.tasks) or loop.time() > until:
            return seen


async def _load(
    plan: Plan,
    built: Programs,
    penstock: Penstock,
    clients: Clients,
    records: Records,
    configs: list[Config],
    note: Note,
) -> tuple[list[Sample], Steady, int]:
    loop = asyncio.get_running_loop()
    begin = loop.time()
    streams = Streams(built, penstock.url, records.log.parent, plan.seconds)
    clients.rate = plan.rate
    asking = asyncio.create_task(clients.run(begin + plan.seconds))
    samples: list[Sample] = []
    reloads, told, late = 0, begin, 0.0
    cpu, at = measure.cpu_seconds((penstock.pid,)), begin
    while loop.time() < begin + plan.seconds:
        await streams.follow(plan.share, samples[-1].share if samples else 0.0, late)
        due = min(loop.time() + SAMPLE_SECONDS, begin + plan.seconds)
        await asyncio.sleep(due - loop.time())
        used, now = measure.cpu_seconds((penstock.pid,)), loop.time()
        late = now - due
        share, cpu, at = (used - cpu) / (now - at), used, now
        samples.append(await _sample(penstock, now - begin, share, streams.open))
        records.read()
        if now - begin > RELOAD_SECONDS * (reloads + 1):
            reloads += 1
            watched.reload(penstock, configs[reloads % 2])
        if now - told > LONG_SECONDS:
            told = now
            note(f"{_said(samples[-1])}, {dict(clients.tally.outcomes)}")
    await asyncio.wait_for(asking, LIMIT + 10)
    return samples, await streams.end(), reloads


def _said(last: Sample) -> str:
    return f"{last.at / 60:.0f} min: {last.share:.0%} of a core, {last.streams} streams, {last.own / 1e6:.1f} MB of its own"


async def _sample(penstock: Penstock, at: float, share: float, streams: int) -> Sample:
    page = await watched.status(penstock)
    resident, own = watched.memory(penstock.pid)
    open_now = watched.descriptors(penstock.pid)
    return Sample(at, resident, own, open_now, page["tasks"], page["active"], share, streams)
