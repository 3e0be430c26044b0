"""From what was measured to what is told: results with their speed-ups and with the cautions a reader needs. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from penstock.bench.answer import Sample
from penstock.bench.bootstrap import speedups
from penstock.bench.figures import SECOND, first_token, spread, summary, total
from penstock.bench.ladder import Climbed
from penstock.bench.pairs import Measured
from penstock.bench.plan import Plan, per_turn
from penstock.bench.results import Compared, Loaded, Row, Summary

BUSY: Final = 0.7
"""Share of a core from which on our own work delays what we measure."""
ALIKE: Final = 0.1
"""Answers whose lengths differ by more than this share are not the same work."""


def compared(measured: Measured, plan: Plan, names: tuple[str, str]) -> Compared:
    """One level of a comparison."""
    opened = measured.level.rate is not None
    sides = []
    for side in (0, 1):
        turns = [pair[side] for pair in measured.pairs]
        seconds = sum(turn.seconds for turn in turns)
        samples = [sample for turn in turns for sample in turn.samples]
        cpu = measured.cpu[side] / seconds if seconds else 0.0
        sides.append(summary(samples, seconds, client_cpu=cpu, opened=opened))
    a, b = sides
    return Compared(
        level=measured.level,
        pairs=len(measured.pairs),
        per_turn=per_turn(measured.level),
        a=a,
        b=b,
        speedups=speedups(measured.pairs, plan.confidence, plan.seed),
        cautions=tuple(_cautions(a, b, names)),
    )


def loaded(climbed: Climbed) -> Loaded:
    """One level of a load test."""
    gauges = tuple(climbed.gauges)
    return Loaded(
        level=climbed.level,
        summary=summary(
            climbed.samples,
            climbed.seconds,
            client_cpu=climbed.cpu / climbed.seconds if climbed.seconds else 0.0,
            opened=climbed.level.rate is not None,
        ),
        gauges=gauges,
        running=spread(gauge.running for gauge in gauges if gauge.running is not None),
        waiting=spread(gauge.waiting for gauge in gauges if gauge.waiting is not None),
        kv_use=spread(gauge.kv_use for gauge in gauges if gauge.kv_use is not None),
    )


def compared_rows(measured: Sequence[Measured], began: int) -> Iterator[Row]:
    """Every request of complete pairs."""
    for number, level in enumerate(measured):
        for pair, turns in enumerate(level.pairs):
            for side, turn in zip("ab", turns, strict=True):
                for sample in turn.samples:
                    yield _row(number, side, pair, sample, began)


def loaded_rows(climbed: Sequence[Climbed], began: int) -> Iterator[Row]:
    """Every request of a load test."""
    for number, level in enumerate(climbed):
        for sample in level.samples:
            yield _row(number, "", 0, sample, began)


def busy(one: Summary) -> str:
    """A caution where the measuring process itself had too much to do; else nothing."""
    if one.client_cpu < BUSY:
        return ""
    return f"the measuring process used {one.client_cpu:.0%} of a core, so its own delays are in these times"


def mixed(one: Summary) -> str:
    """A caution where a gateway sent its requests to more than one engine; else nothing."""
    if len(one.backends) < 2:
        return ""
    told = ", ".join(f"{count} by {backend}" for backend, count in one.backends.items())
    return f"its answers were given by more than one engine: {told}"


def _cautions(a: Summary, b: Summary, names: tuple[str, str]) -> Iterator[str]:
    for name, side in zip(names, (a, b), strict=True):
        if side.faults:
            yield (
                f"{sum(side.faults.values())} of {side.requests} requests to {name} failed; "
                "speed-ups are about the requests that both sides answered"
            )
        if side.answered and side.completion_tokens is None:
            yield f"{name} does not tell how many tokens its answers have, so nothing is said per token"
        for words in filter(None, (busy(side), mixed(side))):
            yield f"{name}: {words}"
    if a.answered and b.answered and a.completion_tokens and b.completion_tokens:
        of_a, of_b = a.completion_tokens / a.answered, b.completion_tokens / b.answered
        if abs(of_a - of_b) > ALIKE * max(of_a, of_b):
            yield (
                f"the answers differ in length, {of_a:.0f} tokens from {names[0]} and {of_b:.0f} from {names[1]}: "
                "times of whole answers are not about the same work, times per output token are"
            )


def _row(level: int, side: str, pair: int, sample: Sample, began: int) -> Row:
    first = first_token(sample)
    return Row(
        level=level,
        side=side,
        pair=pair,
        place=sample.place,
        line=sample.prompt,
        due=round((sample.due - began) / SECOND, 6),
        sent=round((sample.sent - began) / SECOND, 6) if sample.sent else 0.0,
        first_token=None if first is None else round(first, 6),
        total=None if sample.fault else round(total(sample), 6),
        prompt_tokens=sample.prompt_tokens,
        completion_tokens=sample.completion_tokens,
        finish=sample.finish,
        backend=sample.backend,
        fault=sample.fault,
    )
