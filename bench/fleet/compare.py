"""All policies on all workloads with all seeds, and what their outcomes say of each other."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass

from bench.fleet.peer import router
from bench.fleet.policies import OURS, POLICIES
from bench.fleet.replica import Engine
from bench.fleet.simulation import Outcome, Simulation
from bench.fleet.work import WORKLOADS, Flow, flows

ROUTERS = {"vllm-router cache_aware": "cache_aware", "vllm-router consistent_hash": "consistent_hash"}
"""Name of a peer that is a process of its own → its policy."""
ENGINE = Engine()
T95 = (0.0, 12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131)
"""Student's t for 95 %, by degrees of freedom."""


@dataclass(frozen=True)
class Figure:
    """One column of the comparison."""

    field: str
    title: str
    unit: str
    scale: float
    higher: bool
    """Whether more is better."""
    real: bool
    """Whether a process of its own is compared by it too: what it spends of its own clock is not in the simulated one."""


FIGURES = (
    Figure("hit_rate", "cache hit rate", "%", 100.0, higher=True, real=True),
    Figure("first_p50", "time to first token, P50", "ms", 1000.0, higher=False, real=False),
    Figure("first_p95", "time to first token, P95", "ms", 1000.0, higher=False, real=False),
    Figure("imbalance", "imbalance of work, max/mean", "", 1.0, higher=False, real=True),
)


@dataclass(frozen=True)
class Row:
    workload: str
    seed: int
    policy: str
    outcome: Outcome

    def as_dict(self) -> dict[str, object]:
        return {"workload": self.workload, "seed": self.seed, "policy": self.policy, **asdict(self.outcome)}


@dataclass(frozen=True)
class Plan:
    seeds: int
    workloads: tuple[str, ...] = tuple(WORKLOADS)
    policies: tuple[str, ...] = (*POLICIES, *ROUTERS)

    @property
    def steps(self) -> int:
        return self.seeds * len(self.workloads) * len(self.policies)


def run(plan: Plan, progress: Callable[[str], None]) -> Iterator[Row]:
    """Every policy gets the very same flows."""
    for seed in range(1, plan.seeds + 1):
        for workload in plan.workloads:
            asked = flows(workload, seed)
            for policy in plan.policies:
                progress(f"{workload}, seed {seed}, {policy}")
                yield Row(workload, seed, policy, outcome(policy, asked, seed))


def outcome(policy: str, asked: Sequence[Flow], seed: int) -> Outcome:
    if policy in ROUTERS:
        with router(ROUTERS[policy]) as process:
            return Simulation(asked, process, ENGINE).run()
    return Simulation(asked, POLICIES[policy](seed), ENGINE).run()


@dataclass(frozen=True)
class Interval:
    mean: float
    low: float
    high: float


def interval(values: Sequence[float]) -> Interval:
    """The mean with its 95 % interval by Student's t."""
    mean = statistics.fmean(values)
    if len(values) < 2:
        return Interval(mean, mean, mean)
    half = T95[min(len(values), len(T95)) - 1] * statistics.stdev(values) / math.sqrt(len(values))
    return Interval(mean, mean - half, mean + half)


def seen(rows: Sequence[Row], workload: str, policy: str, figure: Figure) -> list[float]:
    """By seed."""
    chosen = sorted((one for one in rows if (one.workload, one.policy) == (workload, policy)), key=lambda one: one.seed)
    return [getattr(one.outcome, figure.field) * figure.scale for one in chosen]


@dataclass(frozen=True)
class Verdict:
    workload: str
    figure: Figure
    rival: str
    """The best of the others, by the mean."""
    behind: Interval
    """How far we are behind it, in percent of its figure, seed by seed; below 0 we are ahead."""

    @property
    def word(self) -> str:
        if self.behind.high < 0:
            return "best"
        if self.behind.low <= 0:
            return "no worse than the best"
        return "worse"


def verdicts(rows: Sequence[Row]) -> list[Verdict]:
    """For each workload and figure, we against the best of the others."""
    found = []
    for workload in dict.fromkeys(one.workload for one in rows):
        for figure in FIGURES:
            others = [
                policy
                for policy in dict.fromkeys(one.policy for one in rows if one.workload == workload)
                if policy != OURS and (figure.real or policy not in ROUTERS)
            ]
            if others:
                found.append(_verdict(rows, workload, figure, others))
    return found


def _verdict(rows: Sequence[Row], workload: str, figure: Figure, others: Sequence[str]) -> Verdict:
    sign = -1.0 if figure.higher else 1.0
    rival = min(others, key=lambda policy: sign * statistics.fmean(seen(rows, workload, policy, figure)))
    ours, theirs = seen(rows, workload, OURS, figure), seen(rows, workload, rival, figure)
    behind = [100 * sign * (one - other) / other for one, other in zip(ours, theirs, strict=True)]
    return Verdict(workload, figure, rival, interval(behind))
