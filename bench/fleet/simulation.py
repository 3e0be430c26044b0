"""The clock: requests arrive, a policy picks a replica, replicas work, and what happened is counted."""

from __future__ import annotations

import heapq
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from bench.fleet.replica import Engine, Job, Replica
from bench.fleet.work import Ask, Flow

REPLICAS = 8
PROBE = 2.0
"""Seconds between two looks at an engine's gauges, the gateway's default."""
WARM = 0.15
"""Share of the requests, the first ones, that are served and not counted: empty caches are nobody's fault."""
HORIZON = 3600.0
"""Simulated seconds after which a fleet that has not caught up is broken off."""


class Policy(Protocol):
    """Who gets a request; told what becomes of it."""

    def pick(self, number: int, ask: Ask, now: float) -> int:
        """The replica for this request."""
        ...

    def began(self, number: int, replica: int) -> None:
        """Its first token has come."""
        ...

    def over(self, number: int, replica: int) -> None:
        """Its last token has come."""
        ...

    def seen(self, replica: int, running: int, waiting: int) -> None:
        """An engine's own gauges, once in `PROBE` seconds."""
        ...


@dataclass(frozen=True)
class Outcome:
    """What one policy made of one workload with one seed."""

    hit_rate: float
    """Share of all prompt tokens that were found in the cache."""
    first_p50: float
    """Seconds to the first token."""
    first_p95: float
    imbalance: float
    """Work done, in seconds of reading and writing: the most of one replica by the mean of all."""
    spread: float
    """Requests, the most of one replica by the mean of all."""
    last_p50: float
    """Seconds to the last token."""
    use: float
    """Share of the time that a replica was at work, in the mean."""
    requests: int


@dataclass(slots=True)
class _Count:
    first: list[float]
    last: list[float]
    prompt: int = 0
    cached: int = 0


class Simulation:
    """One workload, one policy, from empty caches to the last answer."""

    def __init__(self, flows: Sequence[Flow], policy: Policy, engine: Engine) -> None:
        self._policy = policy
        self._replicas = [Replica(engine) for _ in range(REPLICAS)]
        self._flows = flows
        self._events: list[tuple[float, int, int, int, int]] = []
        """(when, tie, what, of whom, which) as a heap."""
        self._ties = 0
        self._where: dict[int, tuple[int, int, int]] = {}
        """id of an ask → its number, flow and place in it."""
        self._numbers = 0
        self._planned = [0] * REPLICAS
        self._skip = round(WARM * sum(len(flow.asks) for flow in flows))
        self._sent = [0] * REPLICAS
        self._count = _Count([], [])
        self._warm_busy: list[float] = []
        self._warm_work: list[float] = []
        self._warm_at = 0.0

    def run(self) -> Outcome:
        for place, flow in enumerate(self._flows):
            self._push(flow.begin, _ASK, place, 0)
        for replica in range(REPLICAS):
            self._push(PROBE * (replica + 1) / REPLICAS, _LOOK, replica, 0)
        asked, now = len(self._flows), 0.0
        while self._events and asked:
            now, _, what, who, which = heapq.heappop(self._events)
            if now > HORIZON:
                break
            if what == _ASK:
                self._ask(who, which, now)
            elif what == _RUN:
                if which == self._planned[who]:
                    asked -= self._ran(who)
            else:
                one = self._replicas[who]
                self._policy.seen(who, one.running, len(one.waiting))
                self._push(now + PROBE, _LOOK, who, 0)
        return self._outcome(now)

    def _push(self, when: float, what: int, who: int, which: int) -> None:
        self._ties += 1
        heapq.heappush(self._events, (when, self._ties, what, who, which))

    def _ask(self, flow: int, place: int, now: float) -> None:
        ask = self._flows[flow].asks[place]
        number = self._numbers
        self._numbers += 1
        if number == self._skip:
            self._warm_busy, self._warm_at = [one.busy for one in self._replicas], now
            self._warm_work = [one.work for one in self._replicas]
        picked = self._policy.pick(number, ask, now)
        if number >= self._skip:
            self._sent[picked] += 1
        self._where[id(ask)] = (number, flow, place)
        if self._replicas[picked].add(ask, now):
            self._plan(picked)

    def _plan(self, who: int) -> None:
        self._planned[who] += 1
        run = self._replicas[who].run
        if run is not None:
            self._push(run.end, _RUN, who, self._planned[who])

    def _ran(self, who: int) -> int:
        """How many flows ended with it."""
        run = self._replicas[who].run
        now = run.end if run is not None else math.inf
        begun, over = self._replicas[who].finish()
        for job in begun:
            self._policy.began(self._where[id(job.ask)][0], who)
        ended = 0
        for job in over:
            number, flow, place = self._where.pop(id(job.ask))
            self._policy.over(number, who)
            if number >= self._skip:
                self._keep(job, now)
            if place + 1 < len(self._flows[flow].asks):
                self._push(now + self._flows[flow].asks[place + 1].pause, _ASK, flow, place + 1)
            else:
                ended += 1
        self._plan(who)
        return ended

    def _keep(self, job: Job, now: float) -> None:
        count = self._count
        count.first.append(job.first - job.arrived)
        count.last.append(now - job.arrived)
        count.prompt += job.ask.tokens
        count.cached += job.cached

    def _outcome(self, now: float) -> Outcome:
        count = self._count
        busy = [one.busy - before for one, before in zip(self._replicas, self._warm_busy, strict=True)]
        work = [one.work - before for one, before in zip(self._replicas, self._warm_work, strict=True)]
        first, last = sorted(count.first), sorted(count.last)
        return Outcome(
            hit_rate=count.cached / count.prompt,
            first_p50=_at(first, 0.5),
            first_p95=_at(first, 0.95),
            imbalance=max(work) / statistics.fmean(work),
            spread=max(self._sent) / statistics.fmean(self._sent),
            last_p50=_at(last, 0.5),
            use=statistics.fmean(busy) / (now - self._warm_at),
            requests=len(first),
        )


_ASK, _RUN, _LOOK = range(3)


def _at(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
