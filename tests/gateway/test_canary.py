"""The judge of a canary: sure of itself or silent."""

from __future__ import annotations

import random
from fractions import Fraction
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.gateway.canary import (
    DOUBT,
    SLOW,
    Outcome,
    Sample,
    Share,
    _at_most,
    figures,
    judge,
    luck,
    luck_beside,
    quantile,
)
from penstock.state.switch import Rules

RULES = Rules(min_requests=20)
counts = st.integers(0, 300).flatmap(lambda of: st.tuples(st.integers(0, of), st.just(of)))


def good(count: int, seconds: float = 1.0, first: float = 0.0) -> list[Sample]:
    return [Sample(0.0, Outcome.GOOD, seconds, first)] * count


def ended(outcome: Outcome, count: int, seconds: float = 1.0, first: float = 0.0) -> list[Sample]:
    return [Sample(0.0, outcome, seconds, first)] * count


def times(seed: int, count: int, factor: float = 1.0) -> list[Sample]:
    """Answers as engines give them: most near the middle, a long tail."""
    chance = random.Random(seed)
    return [Sample(0.0, Outcome.GOOD, factor * chance.lognormvariate(0.0, 0.6)) for _ in range(count)]


def exactly(some: int, of: int, rate: Fraction) -> Fraction:
    """The binomial tail without a rounding."""
    return sum((comb(of, one) * rate**one * (1 - rate) ** (of - one) for one in range(some, of + 1)), Fraction(0))


@given(counts, st.sampled_from([Fraction(1, 50), Fraction(1, 20), Fraction(1, 2), Fraction(19, 20)]))
def test_luck_is_the_binomial_tail(seen: tuple[int, int], rate: Fraction) -> None:
    some, of = seen
    told = luck(Share(some, of), float(rate))
    if Fraction(some) > of * rate:
        assert told == pytest.approx(float(exactly(some, of, rate)), rel=1e-6, abs=1e-12)
    else:
        assert told == 1.0


@given(counts, counts)
def test_luck_beside_another_is_fishers(seen: tuple[int, int], other: tuple[int, int]) -> None:
    (some, of), (others, of_others) = seen, other
    told = luck_beside(Share(some, of), Share(others, of_others))
    if of and some * max(of_others, 1) > others * of:
        whole, all_of = some + others, of + of_others
        ways = sum(comb(of, one) * comb(of_others, whole - one) for one in range(some, min(whole, of) + 1))
        assert told == pytest.approx(float(Fraction(ways, comb(all_of, whole))), rel=1e-6, abs=1e-12)
    else:
        assert told == 1.0


@given(st.integers(1, 400))
def test_the_measure_is_in_doubt_once_in_twenty(count: int) -> None:
    """With the true P95 just above this value, so many below it are seen less often than that; one value lower, not."""
    found = _at_most([float(number) for number in range(1, count + 1)])
    tail = [float(exactly(place, count, Fraction(19, 20))) for place in (int(found) - 1, int(found))]
    assert tail[0] >= DOUBT
    assert tail[1] < DOUBT or found == count


def test_a_rate_of_nothing_allows_nothing() -> None:
    assert luck(Share(1, 100), 0.0) == 0.0
    assert luck(Share(0, 100), 0.0) == 1.0


def test_a_dead_canary_is_stopped_after_a_handful() -> None:
    verdicts = [judge(RULES, ended(Outcome.FAILED, count), good(200)) for count in range(6)]
    assert verdicts[0] == ""
    assert verdicts[5] == ("5 of 5 (100 %) of its requests failed, allowed are 2 %; on the old path 0 of 200 (0 %)")


def test_bad_luck_is_no_reason() -> None:
    assert judge(RULES, [*ended(Outcome.FAILED, 1), *good(20)], good(200)) == ""
    assert judge(RULES, [*ended(Outcome.FAILED, 2), *good(60)], good(200)) == ""


def test_what_fails_on_both_sides_is_not_the_canarys_fault() -> None:
    both = [*ended(Outcome.FAILED, 30), *good(70)]
    assert judge(RULES, both, both) == ""
    assert "30 of 100 (30 %) of its requests failed" in judge(RULES, both, good(100))


def test_without_an_old_path_the_limit_alone_decides() -> None:
    assert judge(RULES, [*ended(Outcome.FAILED, 10), *good(40)], []) == (
        "10 of 50 (20 %) of its requests failed, allowed are 2 %"
    )


def test_what_a_caller_does_wrong_counts_beside_the_old_path_alone() -> None:
    refused = [*ended(Outcome.REFUSED, 20), *good(40)]
    assert judge(RULES, refused, []) == ""
    assert judge(RULES, refused, good(10)) == ""
    assert judge(RULES, refused, [*ended(Outcome.REFUSED, 66), *good(134)]) == ""
    assert judge(RULES, refused, good(200)) == (
        "20 of 60 (33.3 %) of its requests were refused, allowed are 2 %; on the old path 0 of 200 (0 %)"
    )


def test_clients_that_leave_are_neither_good_nor_bad() -> None:
    assert judge(RULES, ended(Outcome.LEFT, 100, seconds=0.1), good(100)) == ""


def test_clients_that_leave_because_nothing_comes_make_it_slow() -> None:
    """A canary that hangs shows no answers at all, only clients that gave up."""
    hanging = ended(Outcome.LEFT, 30, seconds=10.0, first=10.0)
    assert "the P95 of its time to the first token is 10 s, 20 times" in judge(
        RULES, hanging, good(100, seconds=2.0, first=0.5)
    )
    assert "time to the whole answer" in judge(RULES, ended(Outcome.LEFT, 30, seconds=10.0), good(100))


@pytest.mark.parametrize("seed", range(8))
def test_a_canary_like_the_old_path_is_let_go_on(seed: int) -> None:
    """Looked at twenty times while thousands of answers come: no false alarm."""
    new, old = times(seed, 3000), times(seed + 1000, 3000)
    assert [judge(Rules(), new[:count], old[:count]) for count in range(10, 3000, 150)] == [""] * 20


@pytest.mark.parametrize("seed", range(8))
def test_one_that_takes_three_times_as_long_is_stopped(seed: int) -> None:
    """Long tails hide much: what is allowed is half as much again, and the sample is small."""
    assert "time to the whole answer" in judge(RULES, times(seed, 300, factor=3.0), times(seed + 1000, 300))


def test_times_are_compared_only_when_both_sides_have_enough() -> None:
    assert judge(RULES, good(19, seconds=9.0), good(100)) == ""
    assert judge(RULES, good(100, seconds=9.0), good(19)) == ""
    assert judge(RULES, good(20, seconds=9.0), good(20)) == (
        "the P95 of its time to the whole answer is 9 s, 9 times the old path's 1 s; "
        "allowed is 1.5 times, and 20 of 20 (100 %) took longer than that"
    )


def test_first_tokens_are_compared_among_streams() -> None:
    new = [*good(50, first=3.0), *good(50)]
    old = [*good(50, first=1.0), *good(50)]
    assert "time to the first token is 3 s, 3 times" in judge(RULES, new, old)
    assert judge(RULES, good(100), old) == ""


@given(
    st.lists(st.tuples(st.sampled_from(Outcome), st.floats(0.001, 100), st.floats(0, 100)), max_size=80),
    st.lists(st.tuples(st.sampled_from(Outcome), st.floats(0.001, 100), st.floats(0, 100)), max_size=80),
)
def test_any_two_sides_are_judged_and_order_means_nothing(
    new: list[tuple[Outcome, float, float]], old: list[tuple[Outcome, float, float]]
) -> None:
    sides = [[Sample(0.0, *one) for one in side] for side in (new, old)]
    verdict = judge(RULES, *sides)
    assert judge(RULES, sides[0][::-1], sides[1][::-1]) == verdict
    assert judge(RULES, [], sides[1]) == ""


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 400))
def test_more_failures_never_save_a_canary(failed: int, well: int, old: int) -> None:
    before = [*ended(Outcome.FAILED, failed), *good(well)]
    if judge(RULES, before, good(old)):
        assert judge(RULES, [*before, *ended(Outcome.FAILED, 1)], good(old))


def test_figures() -> None:
    side = [*good(95, first=0.2), *good(5, seconds=7.0), *ended(Outcome.FAILED, 2), *ended(Outcome.LEFT, 3)]
    told = figures([*side, *ended(Outcome.REFUSED, 1)])
    assert (told.requests, told.failed, told.refused, told.left) == (106, 2, 1, 3)
    assert (told.p95, told.p95_first) == (1.0, 0.2)
    assert figures([]).p95 == 0.0


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=300))
def test_a_quantile_is_a_value_that_was_seen(values: list[float]) -> None:
    ordered = sorted(values)
    found = quantile(ordered)
    assert found in values
    assert sum(one > found for one in values) <= SLOW * len(values)


def test_a_share_in_words() -> None:
    assert str(Share(1, 3)) == "1 of 3 (33.3 %)"
    assert Share(0, 0).rate == 0.0
