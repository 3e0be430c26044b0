"""How much is measured, in which portions, and when requests arrive."""

from __future__ import annotations

import math
import random
import statistics
from itertools import islice, pairwise

import pytest

from penstock.bench.plan import Plan, Supply, arrivals, jobs, pairs_wanted, per_turn, requests_wanted
from penstock.bench.results import Level
from penstock.bench.workload import Message, Prompt

THREE = tuple(Prompt(line, (Message("user", str(line)),)) for line in (1, 2, 3))


def lines(prompts: list[Prompt]) -> list[int]:
    return [prompt.line for prompt in prompts]


def test_levels_go_on_where_the_one_before_stopped() -> None:
    supply = Supply(THREE)
    assert lines(supply.take(2)) == [1, 2]
    assert lines(supply.warm(4)) == [3, 2, 1, 3]
    assert lines(supply.take(5)) == [3, 1, 2, 3, 1]


@pytest.mark.parametrize(
    ("level", "size"),
    [(Level(1), 1), (Level(4), 8), (Level(64), 128), (Level(None, 0.5), 4), (Level(8, 10.0), 20)],
)
def test_the_size_of_a_turn(level: Level, size: int) -> None:
    assert per_turn(level) == size


def test_how_much_is_measured() -> None:
    bare, told = Plan(levels=(), prompts=THREE), Plan(levels=(), prompts=THREE, requests=50)
    timed = Plan(levels=(), prompts=THREE, seconds=5)
    many = Plan(levels=(), prompts=THREE * 100)
    assert [pairs_wanted(plan, Level(4)) for plan in (bare, told, timed, many)] == [20, 7, None, 38]
    assert [requests_wanted(plan, Level(4)) for plan in (bare, told, timed, many)] == [80, 50, None, 300]
    assert requests_wanted(bare, Level(None, 2.0)) == 40
    assert requests_wanted(bare, Level(None, math.inf)) == 3


def test_arrivals_are_poissons() -> None:
    """Gaps whose mean and deviation are both one over the rate, and the same again for the same seed."""
    times = list(islice(arrivals(Level(None, 50.0), random.Random(1)), 20_000))
    gaps = [later - early for early, later in pairwise(times)]
    assert statistics.mean(gaps) == pytest.approx(1 / 50, rel=0.02)
    assert statistics.stdev(gaps) == pytest.approx(1 / 50, rel=0.03)
    assert times == list(islice(arrivals(Level(None, 50.0), random.Random(1)), 20_000))


def test_all_at_once_and_a_closed_loop_wait_for_nothing() -> None:
    for level in (Level(None, math.inf), Level(4)):
        assert list(islice(arrivals(level, random.Random(1)), 3)) == [0.0, 0.0, 0.0]


def test_jobs_are_numbered_on() -> None:
    made = jobs(list(THREE), 6, Level(2), random.Random(1))
    assert [(job.place, job.prompt.line, job.wait) for job in made] == [(6, 1, 0.0), (7, 2, 0.0), (8, 3, 0.0)]
