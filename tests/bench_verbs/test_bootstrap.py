"""Speed-ups: how many times, how sure, and when nothing is said."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.bench_verbs.made import pairs, sample

from penstock.bench import bootstrap
from penstock.bench.bootstrap import FEWEST, Pair, Turn, speedups, times
from penstock.bench.figures import total
from penstock.bench.results import SpeedUp


def found(made: list[Pair], confidence: float = 0.95, seed: int = 0) -> dict[str, SpeedUp]:
    return {one.measure: one for one in speedups(made, confidence, seed)}


def test_a_side_that_is_twice_as_fast_is_shown_with_its_interval() -> None:
    """S1.30, S3.1: the figure of the documents is a ratio of what was measured."""
    chance = random.Random(1)
    b = [chance.uniform(0.9, 1.1) for _ in range(20)]
    ratios = found(pairs([2 * one for one in b], b))
    assert set(ratios) == {
        "total_mean", "total_p50", "total_p95", "first_token_p50", "per_token_mean", "requests_per_minute", "tokens_per_second",
    }  # fmt: skip
    for one in ratios.values():
        assert one.shown
        assert one.ratio == pytest.approx(2, rel=1e-6)
        assert 1.5 < one.low <= one.ratio <= one.high < 2.5
    assert ratios["total_mean"].words == "2.0x (2.0x to 2.0x)"


def test_noise_is_not_sold_as_a_speed_up() -> None:
    """X10: where the interval includes 1, there is no ratio in the words."""
    chance = random.Random(2)
    a, b = ([chance.uniform(0.5, 1.5) for _ in range(30)] for _ in range(2))
    one = found(pairs(a, b))["total_mean"]
    assert one.low < 1 < one.high
    assert not one.shown
    assert one.words.startswith("not shown: ")
    assert one.words.endswith("includes 1")


def test_few_pairs_show_nothing_however_clear_they_look() -> None:
    few = found(pairs([9.0] * (FEWEST - 1), [1.0] * (FEWEST - 1)))["total_mean"]
    assert not few.shown
    assert few.words == f"not shown: {FEWEST - 1} pairs are too few, {FEWEST} are needed"
    assert found(pairs([9.0] * FEWEST, [1.0] * FEWEST))["total_mean"].shown


def test_a_slower_side_is_told_as_slower() -> None:
    one = found(pairs([1.0] * 10, [4.0] * 10))["total_mean"]
    assert one.shown
    assert one.ratio == pytest.approx(0.25)


def test_requests_that_one_side_failed_are_left_out_on_both() -> None:
    made = pairs([2.0] * 10, [1.0] * 10)
    broken = (Turn((sample(0, 100.0, fault="timeout"),), 100.0), Turn((sample(0, 50.0),), 50.0))
    ratios = found([*made, broken])
    assert ratios["total_mean"].ratio == pytest.approx(2)
    # but a failed request took its time and gave no answer
    assert ratios["requests_per_minute"].ratio == pytest.approx((11 / 60) / (10 / 120))


def test_without_token_counts_nothing_is_said_of_tokens() -> None:
    made = [
        (Turn((sample(0, 2.0, tokens=None),), 2.0), Turn((sample(0, 1.0),), 1.0)),
        *pairs([2.0] * 10, [1.0] * 10),
    ]
    assert "tokens_per_second" not in found(made)


def test_two_sides_that_answered_nothing_have_nothing_to_compare() -> None:
    dead = Turn((sample(0, 1.0, fault="connect"),), 1.0)
    assert found([(dead, dead)] * 10) == {}
    assert found([]) == {}


def test_the_same_seed_gives_the_same_interval() -> None:
    chance = random.Random(3)
    made = pairs(*([chance.uniform(0.5, 1.5) for _ in range(15)] for _ in range(2)))
    assert found(made, seed=7) == found(made, seed=7)
    assert found(made, seed=7) != found(made, seed=8)


def test_more_confidence_is_a_wider_interval() -> None:
    chance = random.Random(4)
    made = pairs(*([chance.uniform(0.5, 1.5) for _ in range(15)] for _ in range(2)))
    narrow, wide = found(made, 0.8)["total_mean"], found(made, 0.99)["total_mean"]
    assert wide.low < narrow.low
    assert narrow.high < wide.high


@pytest.mark.parametrize("count", [FEWEST, 20])
def test_intervals_of_equal_sides_miss_about_as_often_as_they_claim(count: int) -> None:
    """Of 200 comparisons of a thing with itself at 90 %, about 20 miss, also with few pairs; seeds make the number the same every time."""
    chance = random.Random(5)
    missed = 0
    for _ in range(200):
        both = [
            ([sample(0, chance.lognormvariate(0, 0.3))], [sample(0, chance.lognormvariate(0, 0.3))])
            for _ in range(count)
        ]
        measures = {"mean": bootstrap._means(both, total)}
        _, low, high = bootstrap.intervals(measures, count, 0.9, 0, draws=300)["mean"]
        missed += not low <= 1 <= high
    assert 10 <= missed <= 30


@pytest.mark.parametrize(
    ("share", "freedom", "table"), [(0.975, 7, 2.365), (0.975, 19, 2.093), (0.995, 11, 3.106), (0.95, 9, 1.833)]
)
def test_students_quantiles_are_those_of_the_tables(share: float, freedom: int, table: float) -> None:
    assert bootstrap._student(share, freedom) == pytest.approx(table, abs=0.01)


@given(
    st.lists(st.tuples(st.floats(0.01, 100), st.floats(0.01, 100), st.integers(0, 3)), min_size=1, max_size=12),
    st.sampled_from([0.5, 0.95]),
)
def test_quantiles_of_a_draw_are_numpys(drawn: list[tuple[float, float, int]], share: float) -> None:
    counts = [count for _, _, count in drawn]
    both = [([sample(0, a)], [sample(0, b)]) for a, b, _ in drawn]
    ratio = bootstrap._quantiles(both, total, share)(counts)
    if not any(counts):
        assert ratio is None
        return
    a, b = (np.repeat([one[side] for one in drawn], counts) for side in (0, 1))
    assert ratio == pytest.approx(float(np.quantile(a, share) / np.quantile(b, share)), rel=1e-6)


@given(st.floats(0.001, 1e6))
def test_a_ratio_is_never_written_as_another_side_of_one(ratio: float) -> None:
    written = float(times(ratio).removesuffix("x"))
    assert written == pytest.approx(ratio, rel=0.06, abs=0.006)
    assert (written - 1) * (ratio - 1) >= 0
    assert math.isfinite(written)
