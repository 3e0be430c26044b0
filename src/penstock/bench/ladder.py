"""The load test: one endpoint, level after level, with the engine's own figures watched meanwhile."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from penstock.bench.answer import Sample
from penstock.bench.gauges import watch
from penstock.bench.load import Ending, Job, Side
from penstock.bench.pairs import warm_up
from penstock.bench.plan import Audience, Plan, Supply, arrivals, requests_wanted
from penstock.bench.results import Gauge, Level
from penstock.bench.wire import Origin


@dataclass(slots=True)
class Climbed:
    """One level of a load test, as far as it came."""

    level: Level
    samples: list[Sample] = field(default_factory=list)
    gauges: list[Gauge] = field(default_factory=list)
    seconds: float = 0.0
    cpu: float = 0.0


async def climb(
    side: Side, plan: Plan, metrics: tuple[Origin, str] | None, ending: Ending, audience: Audience
) -> list[Climbed]:
    """Every level in turn; ends early, with what there is, when `ending` says so."""
    supply = Supply(plan.prompts)
    climbed: list[Climbed] = []
    for number, level in enumerate(plan.levels):
        found = Climbed(level)
        climbed.append(found)
        audience.begins(level, requests_wanted(plan, level), plan.seconds)
        await warm_up(side, level, supply)
        if not ending.over():
            await _step(side, found, _jobs(plan, level, supply, number), plan, metrics, audience)
        if ending.over():
            break
    return climbed


async def _step(
    side: Side,
    found: Climbed,
    jobs: Iterator[Job],
    plan: Plan,
    metrics: tuple[Origin, str] | None,
    audience: Audience,
) -> None:
    def done(sample: Sample) -> None:
        found.samples.append(sample)
        audience.heard(side.endpoint.name, sample)

    began, cpu = time.perf_counter_ns(), time.process_time()
    watching = (
        asyncio.create_task(watch(*metrics, plan.sample_every, time.monotonic(), found.gauges)) if metrics else None
    )
    try:
        await side.run(found.level, jobs, done)
    finally:
        found.cpu = time.process_time() - cpu
        ended = max([sample.ended for sample in found.samples], default=began)
        found.seconds = (ended - began) / 1e9
        if watching is not None:
            watching.cancel()
            await asyncio.wait({watching})


def _jobs(plan: Plan, level: Level, supply: Supply, number: int) -> Iterator[Job]:
    """Until there are enough of them, or the time is over."""
    wanted = requests_wanted(plan, level)
    waits = arrivals(level, random.Random(f"{plan.seed}:{number}"))  # noqa: S311 - reproducible arrivals, no secret
    end = None if plan.seconds is None else time.monotonic() + plan.seconds
    place = 0
    while wanted is None or place < wanted:
        wait = next(waits)
        over = end is not None and (time.monotonic() >= end or (plan.seconds is not None and wait > plan.seconds))
        if over:
            return
        yield Job(place, supply.take(1)[0], wait)
        place += 1
