"""What we set ourselves, and whether a run met it. A target speaks of the gateway in its hot lane, with one worker unless it says otherwise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from bench import leaving, peers, starting, streams
from bench.samples import Sample, Spread, ratios, spread, values

TIMES = "\N{MULTIPLICATION SIGN}"


@dataclass(frozen=True)
class Target:
    """An upper bound on the median: of the ratio to `against` within a round, or of the figure itself in its unit."""

    scenario: str
    limit: float
    unit: str
    against: str = ""
    peer: str = peers.OURS

    @property
    def whose(self) -> str:
        return "" if self.peer == peers.OURS else f" ({self.peer})"

    @property
    def text(self) -> str:
        return f"≤ {self.limit:g} {TIMES} {self.against}" if self.against else f"≤ {self.limit:g} {self.unit}"


@dataclass(frozen=True)
class Verdict:
    target: Target
    seen: Spread | None

    @property
    def met(self) -> bool | None:
        """None where this run did not measure it."""
        return None if self.seen is None else self.seen.median <= self.target.limit

    @property
    def word(self) -> str:
        if self.met is None:
            return "not measured"
        return "met" if self.met else f"NOT MET: {self._over}"

    @property
    def _over(self) -> str:
        """By how much; only asked where something was seen."""
        median = self.seen.median if self.seen else math.nan
        return f"{median / self.target.limit - 1:.0%} over" if math.isfinite(median) else "never"


TARGETS = (
    Target("request-32", 2.0, "", peers.FLOOR),
    Target("request-32", 0.6, "", peers.ROUTER_NAME),
    Target("request-32", 0.45, "", peers.SGLANG_NAME),
    Target("request-32", 0.01, "", peers.LITELLM_NAME),
    Target("request-32", 1.05, "", peers.OURS, peers.TWO),
    Target("request-100k", 2.5, "", peers.FLOOR),
    Target("chunk-paced", 1.3, "", peers.FLOOR),
    Target("first-token-1", 1.6, "", peers.FLOOR),
    Target("first-token-32", 1.6, "", peers.FLOOR),
    Target(streams.STREAM.name, 12, "KiB"),
    Target(streams.RESIDENT.name, 60, "MB"),
    *(Target(phase.scenario.name, 1, "ms") for phase in leaving.PHASES),
    Target(starting.WARM.name, 5, "s"),
    Target(starting.COLD.name, 180, "s"),
)


def verdicts(samples: Sequence[Sample]) -> list[Verdict]:
    return [Verdict(target, _seen(samples, target)) for target in TARGETS]


def _seen(samples: Sequence[Sample], target: Target) -> Spread | None:
    if target.against:
        return spread(ratios(samples, target.scenario, target.peer, target.against))
    return spread(values(samples, target.scenario, target.peer))
