"""What we set ourselves, and whether a run met it. A target speaks of the gateway in its hot lane alone."""

from __future__ import annotations

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
        return {None: "not measured", True: "met", False: "NOT MET"}[self.met]


TARGETS = (
    Target("request-32", 2.0, "", peers.FLOOR),
    Target("request-32", 0.65, "", peers.ROUTER_NAME),
    Target("chunk-paced", 1.4, "", peers.FLOOR),
    Target(streams.STREAM.name, 12, "KiB"),
    Target(streams.RESIDENT.name, 60, "MB"),
    *(Target(phase.scenario.name, 50, "ms") for phase in leaving.PHASES),
    Target(starting.WARM.name, 5, "s"),
    Target(starting.COLD.name, 180, "s"),
)


def verdicts(samples: Sequence[Sample]) -> list[Verdict]:
    return [Verdict(target, _seen(samples, target)) for target in TARGETS]


def _seen(samples: Sequence[Sample], target: Target) -> Spread | None:
    if target.against:
        return spread(ratios(samples, target.scenario, peers.OURS, target.against))
    return spread(values(samples, target.scenario, peers.OURS))
