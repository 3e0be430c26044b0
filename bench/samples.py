"""The nouns: a scenario, one sample of it, and what many samples say together. No I/O."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Scenario:
    name: str
    title: str
    unit: str
    compared: bool = True
    """Whether a ratio to another peer in the same round means anything."""


@dataclass(frozen=True)
class Sample:
    """One figure of one peer in one round. A sample with a fault carries no value and enters no ratio."""

    scenario: str
    peer: str
    round: int
    value: float | None
    fault: str = ""
    details: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Spread:
    median: float
    low: float
    high: float
    count: int


def spread(values: Iterable[float]) -> Spread | None:
    ordered = sorted(values)
    if not ordered:
        return None
    return Spread(statistics.median(ordered), ordered[0], ordered[-1], len(ordered))


def values(samples: Sequence[Sample], scenario: str, peer: str) -> list[float]:
    return [one.value for one in samples if one.scenario == scenario and one.peer == peer and one.value is not None]


def ratios(samples: Sequence[Sample], scenario: str, peer: str, other: str) -> list[float]:
    """The peer's figure divided by the other's, formed inside each round: what disturbed a round disturbed both."""
    theirs = {one.round: one.value for one in samples if one.scenario == scenario and one.peer == other}
    found = []
    for one in samples:
        against = theirs.get(one.round)
        if one.scenario == scenario and one.peer == peer and one.value is not None and against:
            found.append(one.value / against)
    return [ratio for ratio in found if math.isfinite(ratio)]


def faults(samples: Sequence[Sample], scenario: str, peer: str) -> list[str]:
    return [one.fault for one in samples if one.scenario == scenario and one.peer == peer and one.fault]
