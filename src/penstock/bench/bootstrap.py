"""How sure a speed-up is: a bootstrap over pairs of turns.

A pair is one turn of A and one of B with the same prompts, one right after the other. Requests of a turn share its moment, so the
pair and not the request is what is drawn again, with replacement; a machine that slows down for a while slows both turns of a pair.
The interval is the middle of the ratios so found: as much of it as `confidence` says, and some more where there are few pairs, because
few pairs drawn again vary less than pairs do (the expanded percentile interval: Hesterberg, What Teachers Should Know About the Bootstrap,
2015). Pure, and the same for the same seed.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import mul
from statistics import NormalDist
from typing import Final

from penstock.bench.answer import Sample
from penstock.bench.figures import first_token, per_token, quantile, total
from penstock.bench.results import SpeedUp

DRAWS: Final = 2000
WORK: Final = 4_000_000
"""Requests times draws, about: very many requests are drawn fewer times, so that it takes seconds."""
FEWEST: Final = 8
"""Pairs below which an interval from a bootstrap is too narrow to be believed."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What one side did in one pair."""

    samples: tuple[Sample, ...]
    seconds: float


Pair = tuple[Turn, Turn]
Measure = Callable[[Sequence[int]], float | None]
"""The ratio of one draw: how often each pair was drawn → how many times better B is; None where that has no meaning."""


def speedups(pairs: Sequence[Pair], confidence: float, seed: int) -> tuple[SpeedUp, ...]:
    """Every measure that both sides have values for; ratios above 1 say that B is better."""
    both = [_both_answered(pair) for pair in pairs]
    measures: dict[str, Measure] = {
        "total_mean": _means(both, total),
        "total_p50": _quantiles(both, total, 0.5),
        "total_p95": _quantiles(both, total, 0.95),
        "first_token_p50": _quantiles(both, first_token, 0.5),
        "per_token_mean": _means(both, per_token),
        "requests_per_minute": _rates(pairs, lambda sample: 0 if sample.fault else 1),
        "tokens_per_second": _rates(pairs, _tokens),
    }
    requests = sum(len(turn.samples) for pair in pairs for turn in pair)
    found = intervals(measures, len(pairs), confidence, seed, draws=max(500, min(DRAWS, WORK // max(1, requests))))
    return tuple(_speedup(name, *one, len(pairs)) for name, one in found.items())


def intervals(
    measures: Mapping[str, Measure], pairs: int, confidence: float, seed: int, *, draws: int = DRAWS
) -> dict[str, tuple[float, float, float]]:
    """Each measure's ratio, lower and upper end; all of them from the same draws."""
    whole = {name: ratio for name, measure in measures.items() if (ratio := measure([1] * pairs)) is not None}
    drawn: dict[str, list[float]] = {name: [] for name in whole}
    chance = random.Random(seed)  # noqa: S311 - reproducible on purpose
    for _ in range(draws if whole else 0):
        counts = [0] * pairs
        for place in chance.choices(range(pairs), k=pairs):
            counts[place] += 1
        for name, values in drawn.items():
            value = measures[name](counts)
            if value is not None:
                values.append(value)
    edge = _edge(confidence, pairs)
    found = {}
    for name, values in drawn.items():
        ordered, ratio = sorted([*values, whole[name]]), whole[name]
        found[name] = (ratio, min(ratio, quantile(ordered, edge)), max(ratio, quantile(ordered, 1 - edge)))
    return found


def _edge(confidence: float, pairs: int) -> float:
    """The share of draws to leave out at either end."""
    normal, outside = NormalDist(), (1 - confidence) / 2
    if pairs < 3:
        return outside
    return normal.cdf(-math.sqrt(pairs / (pairs - 1)) * _student(1 - outside, pairs - 1))


def _student(share: float, freedom: int) -> float:
    """The quantile of Student's t, by Cornish and Fisher's expansion around the normal one: right to a hundredth from 7 degrees on."""
    z = NormalDist().inv_cdf(share)
    return (
        z
        + (z**3 + z) / (4 * freedom)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * freedom**3)
    )


def _speedup(name: str, ratio: float, low: float, high: float, pairs: int) -> SpeedUp:
    shown = pairs >= FEWEST and not low <= 1 <= high
    return SpeedUp(
        measure=name, ratio=ratio, low=low, high=high, shown=shown, words=_words(ratio, low, high, pairs, shown=shown)
    )


def times(ratio: float) -> str:
    """`9.0x`, with as many digits as tell it from 1."""
    if 0.95 < ratio < 1.05:
        return f"{ratio:.3f}x"
    return f"{ratio:.0f}x" if ratio >= 100 else f"{ratio:.1f}x" if ratio >= 2 else f"{ratio:.2f}x"


def _words(ratio: float, low: float, high: float, pairs: int, *, shown: bool) -> str:
    if pairs < FEWEST:
        return f"not shown: {pairs} pairs are too few, {FEWEST} are needed"
    if not shown:
        return f"not shown: {times(low)} to {times(high)} includes 1"
    return f"{times(ratio)} ({times(low)} to {times(high)})"


def _both_answered(pair: Pair) -> tuple[list[Sample], list[Sample]]:
    """The requests of a pair that both sides answered, so that the same work is compared."""
    a, b = ({sample.place: sample for sample in turn.samples if not sample.fault} for turn in pair)
    return [a[place] for place in a if place in b], [b[place] for place in b if place in a]


def _means(both: Sequence[tuple[list[Sample], list[Sample]]], value: Callable[[Sample], float | None]) -> Measure:
    sums = []
    for sides in both:
        told = [[found for sample in samples if (found := value(sample)) is not None] for samples in sides]
        sums.append((sum(told[0]), len(told[0]), sum(told[1]), len(told[1])))

    def measure(counts: Sequence[int]) -> float | None:
        a = b = 0.0
        of_a = of_b = 0
        for count, (sum_a, n_a, sum_b, n_b) in zip(counts, sums, strict=True):
            if count:
                a, of_a, b, of_b = a + count * sum_a, of_a + count * n_a, b + count * sum_b, of_b + count * n_b
        return _ratio(a * of_b, b * of_a)

    return measure


def _quantiles(
    both: Sequence[tuple[list[Sample], list[Sample]]], value: Callable[[Sample], float | None], share: float
) -> Measure:
    ordered = [
        sorted(
            (found, place)
            for place, sides in enumerate(both)
            for sample in sides[side]
            if (found := value(sample)) is not None
        )
        for side in (0, 1)
    ]

    held = [[0] * len(both), [0] * len(both)]
    for values, each in zip(ordered, held, strict=True):
        for _, place in values:
            each[place] += 1

    def measure(counts: Sequence[int]) -> float | None:
        a, b = (_weighted(values, each, counts, share) for values, each in zip(ordered, held, strict=True))
        return None if a is None or b is None else _ratio(a, b)

    return measure


def _rates(pairs: Sequence[Pair], value: Callable[[Sample], float]) -> Measure:
    sums = [(sum(map(value, a.samples)), a.seconds, sum(map(value, b.samples)), b.seconds) for a, b in pairs]

    def measure(counts: Sequence[int]) -> float | None:
        a = b = in_a = in_b = 0.0
        for count, (sum_a, seconds_a, sum_b, seconds_b) in zip(counts, sums, strict=True):
            if count:
                a, in_a, b, in_b = (
                    a + count * sum_a,
                    in_a + count * seconds_a,
                    b + count * sum_b,
                    in_b + count * seconds_b,
                )
        return _ratio(b * in_a, a * in_b)

    return measure


def _tokens(sample: Sample) -> float:
    """NaN where an answer came without a count: then there is no rate."""
    if sample.fault:
        return 0.0
    return math.nan if sample.completion_tokens is None else sample.completion_tokens


def _weighted(
    values: Sequence[tuple[float, int]], held: Sequence[int], counts: Sequence[int], share: float
) -> float | None:
    """The quantile of values of which each counts as often as its pair was drawn; `held` is how many each pair has."""
    drawn: int = sum(map(mul, held, counts))
    if not drawn:
        return None
    place = share * (drawn - 1)
    low = int(place)
    seen = 0
    for number, (value, pair) in enumerate(values):
        seen += counts[pair]
        if seen > low:
            if seen > low + 1 or low + 1 >= drawn:
                return value
            following = next((later for later, its in values[number + 1 :] if counts[its]), value)
            return value + (following - value) * (place - low)
    return None


def _ratio(above: float, below: float) -> float | None:
    return above / below if above > 0 and below > 0 and math.isfinite(above) and math.isfinite(below) else None
