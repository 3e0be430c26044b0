"""All pairs of an alias in figures: how often the engines agree, what changed for the worse, and how sure that is. Pure.

A `Rate` carries its 95 % interval. What both engines can do right or wrong is compared pair by pair (`Change`): only pairs
in which exactly one of them was at fault tell anything, and chance is named as long as it may be the reason.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import zip_longest
from typing import Literal, TypeAlias

import msgspec

from penstock.agreement.facts import Facts, missing
from penstock.agreement.likely import sign_test, wilson
from penstock.agreement.pair import Pair

SURE = 0.05
"""A change is called one when chance alone would make it less often than this."""

Finding: TypeAlias = Literal["worse", "better", "no difference shown"]


class Rate(msgspec.Struct, frozen=True):
    """So many of so many."""

    count: int
    of: int
    low: float
    high: float

    @property
    def share(self) -> float | None:
        """None where nothing was counted."""
        return self.count / self.of if self.of else None


class Change(msgspec.Struct, frozen=True):
    """How often something went wrong on each side, over the same pairs."""

    first: Rate
    second: Rate
    only_first: int
    only_second: int
    chance: float
    """How often chance alone would favour one side as much."""
    finding: Finding
    """Of the second, beside the first."""


class Spread(msgspec.Struct, frozen=True):
    """A figure over many pairs."""

    count: int
    tenth: float
    median: float
    ninetieth: float


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is said of a set of pairs."""

    alias: str
    first: str
    """What the two sides are called."""
    second: str
    pairs: int
    unpaired: int
    since: float
    until: float
    compared: int
    """Pairs in which both answered."""
    agreed: Rate
    measures: dict[str, Rate]
    """Agreement by measure; free text apart by whether sampling was off."""
    shared: Spread | None
    first_difference: Spread | None
    """In words, of those texts that differ."""
    length: Spread | None
    """Words of the second for one word of the first."""
    errors: Change
    refusals: Change
    invalid: Change
    """JSON that is none, where JSON or a call was wanted."""
    cut: Change
    """Answers that ended because they had to (`length`)."""
    facts: Change | None
    """Pairs whose answer lacks a golden fact."""
    facts_unknown: int
    """Pairs with golden facts whose text was not kept."""
    finishes: dict[str, tuple[int, int]]
    seconds: tuple[Spread | None, Spread | None]
    first_token: tuple[Spread | None, Spread | None]
    examples: tuple[Pair, ...]


def report(
    pairs: Sequence[Pair],
    *,
    alias: str,
    names: tuple[str, str] = ("primary", "shadow"),
    facts: Facts | None = None,
    examples: int = 5,
    unpaired: int = 0,
) -> Report:
    """The figures of these pairs."""
    both = [pair for pair in pairs if not pair.first.error and not pair.second.error]
    texts = [pair for pair in both if pair.verdict.measure != "vectors"]
    wanted = [pair for pair in both if pair.verdict.measure in {"json", "tools"}]
    golden = [(pair, (facts or {}).get(pair.asked.digest, ())) for pair in both]
    known = [(pair, named) for pair, named in golden if named and pair.kept_text]
    return Report(
        alias=alias,
        first=names[0],
        second=names[1],
        pairs=len(pairs),
        unpaired=unpaired,
        since=min((pair.made for pair in pairs), default=0.0),
        until=max((pair.made for pair in pairs), default=0.0),
        compared=len(both),
        agreed=_rate(pair.verdict.outcome == "agreed" for pair in both),
        measures=_measures(both),
        shared=spread(pair.verdict.shared for pair in texts),
        first_difference=spread(
            float(pair.verdict.first_difference) for pair in texts if pair.verdict.first_difference is not None
        ),
        length=spread(pair.verdict.words[1] / pair.verdict.words[0] for pair in texts if pair.verdict.words[0]),
        errors=_change(pairs, lambda pair: (bool(pair.first.error), bool(pair.second.error))),
        refusals=_change(texts, lambda pair: pair.verdict.refused),
        invalid=_change(wanted, lambda pair: (not pair.verdict.valid[0], not pair.verdict.valid[1])),
        cut=_change(texts, lambda pair: (pair.first.finish == "length", pair.second.finish == "length")),
        facts=_facts(known) if facts is not None else None,
        facts_unknown=sum(1 for pair, named in golden if named and not pair.kept_text),
        finishes=_finishes(texts),
        seconds=(spread(pair.first.seconds for pair in both), spread(pair.second.seconds for pair in both)),
        first_token=(
            spread(pair.first.first_token for pair in both if pair.first.first_token),
            spread(pair.second.first_token for pair in both if pair.second.first_token),
        ),
        examples=worst(pairs, facts or {})[:examples],
    )


def worst(pairs: Iterable[Pair], facts: Facts) -> tuple[Pair, ...]:
    """Pairs that do not agree: one of each sort, the most telling sort first, then the next of each.

    What both failed at is nobody's example.
    """
    sorts: dict[int, list[Pair]] = {}
    for pair in pairs:
        if pair.verdict.outcome not in {"agreed", "both_failed"}:
            sorts.setdefault(_sort(pair, facts), []).append(pair)
    columns = [sorted(sorts[sort], key=lambda pair: pair.verdict.shared) for sort in sorted(sorts)]
    return tuple(pair for row in zip_longest(*columns) for pair in row if pair is not None)


def _sort(pair: Pair, facts: Facts) -> int:
    verdict = pair.verdict
    signs = (
        verdict.outcome == "second_failed",
        _lost(pair, facts),
        verdict.measure != "text",
        verdict.refused[1] and not verdict.refused[0],
        verdict.outcome == "differed",
    )
    return next((place for place, sign in enumerate(signs) if sign), len(signs))


def _lost(pair: Pair, facts: Facts) -> bool:
    """Whether the second answer lacks facts that the first has."""
    named = facts.get(pair.asked.digest, ()) if pair.kept_text and pair.verdict.outcome == "differed" else ()
    return len(missing(named, pair.second)) > len(missing(named, pair.first))


def spread(values: Iterable[float]) -> Spread | None:
    """Median and tenths; None of nothing."""
    found = sorted(values)
    if not found:
        return None
    last = len(found) - 1
    return Spread(len(found), found[round(last * 0.1)], statistics.median(found), found[round(last * 0.9)])


def _rate(hits: Iterable[bool]) -> Rate:
    counted = list(hits)
    return Rate(sum(counted), len(counted), *wilson(sum(counted), len(counted)))


def _change(pairs: Sequence[Pair], wrong: Callable[[Pair], tuple[bool, bool]]) -> Change:
    return _changed([wrong(pair) for pair in pairs])


def _changed(found: Sequence[tuple[bool, bool]]) -> Change:
    only_first = sum(1 for first, second in found if first and not second)
    only_second = sum(1 for first, second in found if second and not first)
    chance = sign_test(only_first, only_second)
    finding: Finding = "no difference shown"
    if chance < SURE:
        finding = "worse" if only_second > only_first else "better"
    rates = _rate(first for first, _ in found), _rate(second for _, second in found)
    return Change(*rates, only_first, only_second, chance, finding)


def _facts(known: Sequence[tuple[Pair, tuple[str, ...]]]) -> Change:
    return _changed([(bool(missing(named, pair.first)), bool(missing(named, pair.second))) for pair, named in known])


def _measures(pairs: Sequence[Pair]) -> dict[str, Rate]:
    found: dict[str, list[bool]] = {}
    for pair in pairs:
        name: str = pair.verdict.measure
        if name == "text":
            name = "text, sampling off" if pair.asked.greedy else "text, sampled"
        found.setdefault(name, []).append(pair.verdict.outcome == "agreed")
    return {name: _rate(hits) for name, hits in sorted(found.items())}


def _finishes(pairs: Sequence[Pair]) -> dict[str, tuple[int, int]]:
    first = Counter(pair.first.finish or "not said" for pair in pairs)
    second = Counter(pair.second.finish or "not said" for pair in pairs)
    return {name: (first[name], second[name]) for name in sorted(first | second)}
