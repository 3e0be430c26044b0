"""What is to be measured, and in which portions. Pure."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from typing import Final, Protocol

import msgspec

from penstock.bench.answer import Sample
from penstock.bench.load import Job
from penstock.bench.results import Level
from penstock.bench.workload import Prompt

PAIRS: Final = 20
"""Pairs of turns at a level, where neither a number nor a time is asked for."""
PER_SLOT: Final = 2
"""Requests of a turn for each that may be under way."""
TURN_SECONDS: Final = 2.0
"""How much of an open loop's time is one turn."""
LOAD_SECONDS: Final = 20.0


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Levels, and how much of each."""

    levels: tuple[Level, ...]
    prompts: tuple[Prompt, ...]
    requests: int | None = None
    """To each side at each level."""
    seconds: float | None = None
    """For each level; what is under way then is waited for."""
    seed: int = 0
    confidence: float = 0.95
    sample_every: float = 0.5
    """Seconds between two looks at the engine's own figures."""


class Audience(Protocol):
    """Who is told how far it is."""

    def begins(self, level: Level, requests: int | None, seconds: float | None) -> None:
        """A level; `requests` of both sides together, where that is known."""
        ...

    def heard(self, name: str, sample: Sample) -> None:
        """One more request is over."""
        ...


class Supply:
    """The prompts in order, over and over: one level goes on where the one before stopped, so that caches help as late as they can."""

    def __init__(self, prompts: tuple[Prompt, ...]) -> None:
        self._prompts = prompts
        self._next = 0

    def take(self, count: int) -> list[Prompt]:
        """The next ones."""
        taken = [self._prompts[(self._next + place) % len(self._prompts)] for place in range(count)]
        self._next += count
        return taken

    def warm(self, count: int) -> list[Prompt]:
        """From the end, so that what is measured next has not just been answered."""
        return [self._prompts[-1 - place % len(self._prompts)] for place in range(count)]


def per_turn(level: Level) -> int:
    """Requests of one turn in a comparison."""
    if level.rate is not None:
        return max(4, math.ceil(level.rate * TURN_SECONDS))
    concurrency = level.concurrency or 1
    return 1 if concurrency == 1 else PER_SLOT * concurrency


def pairs_wanted(plan: Plan, level: Level) -> int | None:
    """None: as many as the time allows."""
    if plan.requests is not None:
        return math.ceil(plan.requests / per_turn(level))
    if plan.seconds is not None:
        return None
    return max(PAIRS, math.ceil(len(plan.prompts) / per_turn(level)))


def requests_wanted(plan: Plan, level: Level) -> int | None:
    """Of a load test; None: as many as the time allows."""
    if plan.requests is not None or plan.seconds is not None:
        return plan.requests
    if level.rate is None:
        return max(len(plan.prompts), PAIRS * (level.concurrency or 1))
    return max(len(plan.prompts), math.ceil(level.rate * LOAD_SECONDS) if math.isfinite(level.rate) else 1)


def arrivals(level: Level, chance: random.Random) -> Iterator[float]:
    """Seconds after the beginning, for ever: gaps of a Poisson process, or none at all."""
    at = 0.0
    while True:
        yield at
        at += chance.expovariate(level.rate) if level.rate and math.isfinite(level.rate) else 0.0


def jobs(prompts: list[Prompt], first: int, level: Level, chance: random.Random) -> list[Job]:
    """One turn."""
    waits = arrivals(level, chance)
    return [Job(first + place, prompt, next(waits)) for place, prompt in enumerate(prompts)]
