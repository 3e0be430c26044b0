"""Reports as text for a terminal, pure: results in, lines out."""

from __future__ import annotations

from collections.abc import Iterator

from penstock.bench.endpoint import Endpoint
from penstock.bench.report import busy, mixed
from penstock.bench.results import Compared, Comparison, Conditions, Loaded, LoadTest, Spread
from penstock.bench.words import NONE, ROWS, columns, errors, headline, lines, rate, seconds, share, spoken


def comparison_text(found: Comparison) -> str:
    """All levels, each with its table and the five lines of S1.25."""
    names = (found.a.name, found.b.name)
    parts = [*_head(found.conditions), _endpoints(found.a, found.b)]
    for level in found.levels:
        parts += [_level(level, names, found.conditions.confidence)]
    return "\n\n".join([*parts, *_foot(found.conditions)])


def load_text(found: LoadTest) -> str:
    """What was carried, and how long it took: one line a level in each table."""
    carried: list[tuple[str, ...]] = [_CARRIED, *(_carried(level) for level in found.levels)]
    took: list[tuple[str, ...]] = [_TOOK, *(_took(level) for level in found.levels)]
    parts = [*_head(found.conditions), _endpoints(found.endpoint), columns(carried), columns(took)]
    source = f"running, waiting, KV cache: the highest seen at {found.metrics}."
    parts.append(source if found.metrics else "The engine tells nothing of its queue and its cache.")
    notes = [f"{level.level.words}: {note}" for level in found.levels for note in _load_notes(level)]
    return "\n\n".join([*parts, *(["\n".join(notes)] if notes else []), *_foot(found.conditions)])


_CARRIED = ("load", "requests/min", "output tokens/s", "running", "waiting", "KV cache", "errors")
_TOOK = (
    "time to",
    "first token P50",
    "P95",
    "P99",
    "next token P50",
    "P95",
    "P99",
    "whole answer P50",
    "P95",
    "P99",
    "",
)


def _head(conditions: Conditions) -> Iterator[str]:
    if conditions.partial:
        yield f"PARTIAL: {conditions.partial}. What follows is what was measured until then."


def _endpoints(*endpoints: Endpoint) -> str:
    return columns(
        [
            (one.name, one.model, one.url, spoken(one.wire) + (f", {one.engine}" if one.engine else ""))
            for one in endpoints
        ]
    )


def _level(one: Compared, names: tuple[str, str], confidence: float) -> str:
    turn = "1 request" if one.per_turn == 1 else f"{one.per_turn} requests"
    title = f"{one.level.words}: {one.pairs} pairs of turns, {turn} in a turn"
    rows: list[tuple[str, ...]] = [
        ("", names[0], names[1], f"speed-up of {names[1]}, {100 * confidence:.4g} % interval")
    ]
    for label, cell, measure in ROWS:
        speedup = one.speedup(measure) if measure else None
        rows.append((label, cell(one.a), cell(one.b), speedup.words if speedup else ""))
    said = [f"note: {caution}." for caution in one.cautions]
    said += [
        f"note: {name} said: {side.example}" for name, side in zip(names, (one.a, one.b), strict=True) if side.example
    ]
    parts = [title, columns(rows), lines(headline(one, names, confidence))]
    return "\n\n".join([*parts, *(["\n".join(said)] if said else [])])


def _carried(one: Loaded) -> tuple[str, ...]:
    return (
        one.level.words,
        rate(one.summary.requests_per_minute),
        rate(one.summary.tokens_per_second),
        _highest(one.running),
        _highest(one.waiting),
        share(one.kv_use.highest) if one.kv_use else NONE,
        errors(one.summary),
    )


def _took(one: Loaded) -> tuple[str, ...]:
    spreads = (one.summary.first_token, one.summary.between_tokens, one.summary.total)
    values = (value for found in spreads for value in ((found.p50, found.p95, found.p99) if found else (None,) * 3))
    return (one.level.words, *map(seconds, values), "")


def _highest(found: Spread | None) -> str:
    return f"{found.highest:g}" if found else NONE


def _load_notes(one: Loaded) -> Iterator[str]:
    told = one.summary
    if told.late and told.late.p99 > 0.01:
        yield f"requests were sent up to {seconds(told.late.highest)} after they were due (P99 {seconds(told.late.p99)})."
    for words in filter(None, (busy(told), mixed(told))):
        yield f"{words}."
    if told.example:
        yield f"the first error said: {told.example}"


def _foot(conditions: Conditions) -> Iterator[str]:
    machine = conditions.machine
    yield (
        f"{conditions.asked}; at most {conditions.wish.max_tokens} tokens an answer; seed {conditions.seed}; "
        f"{conditions.began}, {conditions.took:.0f} s.\n"
        f"Measured from {machine.processor}, {machine.cores} cores, {machine.system}, Python {machine.python}, "
        f"Penstock {machine.penstock}" + (f", load {machine.load:.2f}." if machine.load is not None else ".")
    )
