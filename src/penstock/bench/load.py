"""Asking one endpoint: a closed loop that keeps so many requests under way, or an open one whose requests come when they come.

An open loop does not wait for answers, as users don't: a slow engine gets a queue, and its latencies show it. When a request was
really sent is kept beside when it was due, so that a client that could not keep up is seen.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from penstock.bench.answer import READINGS, Sample
from penstock.bench.endpoint import Endpoint, answers
from penstock.bench.results import Level
from penstock.bench.speech import PATHS, Wish, request_body
from penstock.bench.wire import Origin
from penstock.bench.workload import Prompt
from penstock.errors import EngineFault

DOWN_AFTER: Final = 5
"""Failures in a row after which an endpoint is asked whether it is still there."""
MOST_AT_ONCE: Final = 4096
_LOST: Final = frozenset({"connect", "broken", "timeout"})

Done = Callable[[Sample], None]


class Ending:
    """Why a measurement ends before its time; nothing while it goes on."""

    def __init__(self) -> None:
        self.reason = ""
        self._event = asyncio.Event()

    def now(self, reason: str) -> None:
        """The first reason counts."""
        self.reason = self.reason or reason
        self._event.set()

    def over(self) -> bool:
        """Whether it has come."""
        return bool(self.reason)

    async def limit(self, work: Coroutine[None, None, None]) -> None:
        """Do the work, or as much of it as there is before the end; what is under way then is given up."""
        task = asyncio.ensure_future(work)
        ended = asyncio.ensure_future(self._event.wait())
        try:
            await asyncio.wait({task, ended}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ended.cancel()
            if not task.done():
                task.cancel()
            await asyncio.wait({task, ended})
        if not task.cancelled():
            task.result()


@dataclass(frozen=True, slots=True)
class Job:
    """One request to be made."""

    place: int
    prompt: Prompt
    wait: float = 0.0
    """Open loop: seconds after the turn's beginning at which it is due."""


class Side:
    """An endpoint and how it has been doing."""

    def __init__(self, endpoint: Endpoint, origin: Origin, wish: Wish, limit: float, ending: Ending) -> None:
        self.endpoint = endpoint
        self.origin = origin
        self._wish = wish
        self._limit = limit
        self._ending = ending
        self._lost = 0

    async def ask(self, job: Job, due: int) -> Sample:
        """One request, whatever becomes of it."""
        wire = self.endpoint.wire
        reading = READINGS[wire](job.place, job.prompt.line, due)
        body = request_body(wire, self.endpoint.model, job.prompt, self._wish)
        try:
            await self.origin.ask("POST", PATHS[wire], body, reading, self._limit)
        except EngineFault as fault:
            sample = reading.failed(fault)
            await self._missed(sample)
            return sample
        self._lost = 0
        return reading.sample()

    async def run(self, level: Level, jobs: Iterator[Job], done: Done) -> None:
        """All of the jobs at this level; ends early when the measurement does."""
        if level.rate is None:
            await self._ending.limit(self._closed(jobs, level.concurrency or 1, done))
        else:
            await self._ending.limit(self._open(jobs, level.concurrency or MOST_AT_ONCE, done))

    async def _closed(self, jobs: Iterator[Job], concurrency: int, done: Done) -> None:
        async def worker() -> None:
            for job in jobs:  # one iterator for all of them: a job goes to whoever is free first
                done(await self.ask(job, time.perf_counter_ns()))

        async with asyncio.TaskGroup() as group:
            for _ in range(concurrency):
                group.create_task(worker())

    async def _open(self, jobs: Iterable[Job], most: int, done: Done) -> None:
        slots = asyncio.Semaphore(most)
        began = time.perf_counter_ns()

        async def one(job: Job, due: int) -> None:
            async with slots:
                done(await self.ask(job, due))

        async with asyncio.TaskGroup() as group:
            for job in jobs:
                due = began + int(job.wait * 1e9)
                await asyncio.sleep(max(0.0, (due - time.perf_counter_ns()) / 1e9))
                group.create_task(one(job, due))

    async def _missed(self, sample: Sample) -> None:
        """After several requests in a row that got nowhere: ask whether it is still there."""
        self._lost = self._lost + 1 if sample.fault in _LOST else 0
        if self._lost < DOWN_AFTER:
            return
        if await answers(self.origin):
            self._lost = 0
        else:
            self._ending.now(f"{self.endpoint.name} no longer answers: {sample.message}")
