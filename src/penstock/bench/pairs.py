"""The comparison itself: turn by turn, A and B in an order drawn anew for every pair, with the same prompts.

One side is idle while the other answers, because engines on one machine would slow each other. The order is drawn from the seed,
so that neither side always comes first, and what changes meanwhile (a busy neighbour, a processor that gets hot) falls on both.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field

from penstock.bench.answer import Sample
from penstock.bench.bootstrap import Pair, Turn
from penstock.bench.load import Ending, Job, Side
from penstock.bench.plan import Audience, Plan, Supply, jobs, pairs_wanted, per_turn
from penstock.bench.results import Level
from penstock.errors import EngineRefused


@dataclass(slots=True)
class Measured:
    """One level of a comparison, as far as it came."""

    level: Level
    pairs: list[Pair] = field(default_factory=list)
    cpu: list[float] = field(default_factory=lambda: [0.0, 0.0])
    """Processor seconds that we used ourselves during A's and B's turns."""


async def compare(a: Side, b: Side, plan: Plan, ending: Ending, audience: Audience) -> list[Measured]:
    """Every level in turn; ends early, with what there is, when `ending` says so."""
    supply = Supply(plan.prompts)
    measured: list[Measured] = []
    for number, level in enumerate(plan.levels):
        found = Measured(level)
        measured.append(found)
        await _level((a, b), found, plan, supply, random.Random(f"{plan.seed}:{number}"), ending, audience)  # noqa: S311 - an order, no secret
        if ending.over():
            break
    return measured


async def _level(
    sides: tuple[Side, Side],
    found: Measured,
    plan: Plan,
    supply: Supply,
    chance: random.Random,
    ending: Ending,
    audience: Audience,
) -> None:
    size, wanted = per_turn(found.level), pairs_wanted(plan, found.level)
    audience.begins(found.level, None if wanted is None else 2 * size * wanted, plan.seconds)
    for side in sides:
        await warm_up(side, found.level, supply)
    end = None if plan.seconds is None else time.monotonic() + plan.seconds
    while not ending.over() and (wanted is None or len(found.pairs) < wanted):
        if end is not None and time.monotonic() >= end:
            break
        turn = jobs(supply.take(size), len(found.pairs) * size, found.level, chance)
        order = chance.choice([(0, 1), (1, 0)])
        done: dict[int, Turn] = {}
        for one in order:
            before = time.process_time()
            done[one] = await _turn(sides[one], found.level, turn, audience)
            found.cpu[one] += time.process_time() - before
        if ending.over():
            break
        found.pairs.append((done[0], done[1]))


async def _turn(side: Side, level: Level, turn: list[Job], audience: Audience) -> Turn:
    samples: list[Sample] = []

    def done(sample: Sample) -> None:
        samples.append(sample)
        audience.heard(side.endpoint.name, sample)

    began = time.perf_counter_ns()
    await side.run(level, iter(turn), done)
    ended = max([sample.ended for sample in samples], default=began)
    return Turn(tuple(sorted(samples, key=lambda sample: sample.place)), (ended - began) / 1e9)


async def warm_up(side: Side, level: Level, supply: Supply) -> None:
    """Connections opened, caches of the engine's own code filled; not counted. Nothing but refusals ends it all here."""
    samples: list[Sample] = []
    prompts = supply.warm(min(level.concurrency or 4, 64))
    await side.run(Level(len(prompts)), iter([Job(-1, prompt) for prompt in prompts]), samples.append)
    refused = [sample for sample in samples if sample.fault.startswith("status ")]
    if refused and len(refused) == len(samples):
        raise EngineRefused(
            f"Asking {side.endpoint.name} ({side.endpoint.model} at {side.endpoint.url}) for the first time: "
            f"{refused[0].fault.removeprefix('status ')} {refused[0].message}.",
            hint="Nothing was measured. Is that the right model, and does it take such requests?",
        )
