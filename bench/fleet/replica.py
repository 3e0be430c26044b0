"""One engine replica on a simulated clock: continuous batching, prefix cache by blocks, prefill in chunks.

The shape is vLLM's (first come first served, decoding before prefill, a budget of tokens for each step, blocks of a finished
prompt kept until they are the longest unused); the speeds are parameters. Simplified: a prompt's blocks count as cached
from the step that begins to read it, nothing is preempted because the blocks of an answer are taken when it starts, and
the time of a step does not grow with the length of the contexts in it.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict, deque
from dataclasses import dataclass, field

from bench.fleet.work import BLOCK, Ask


@dataclass(frozen=True)
class Engine:
    """Speeds and sizes of all replicas: about a card of 24 GB with a model of eight billion parameters."""

    step: float = 0.015
    """Seconds a step takes with nothing in it."""
    read: float = 1 / 10_000
    """Seconds for each prompt token read."""
    write: float = 0.000_2
    """Seconds for each answer that a step adds a token to."""
    budget: int = 2048
    """Tokens of one step."""
    blocks: int = 3072
    """Of the cache, 16 tokens each."""
    answers: int = 128
    """At the same time."""


@dataclass(slots=True, eq=False)
class Job:
    """One request inside a replica."""

    ask: Ask
    arrived: float
    left: int = 0
    """Prompt tokens not read yet."""
    cached: int = 0
    """Prompt tokens that were found in the cache."""
    unnamed: int = 0
    """Blocks that are its own: the end of its prompt, and its answer."""
    first: float = 0.0
    """When its first token came."""


@dataclass(slots=True)
class Run:
    """What a replica does next: one step with prefill in it, or several that only decode."""

    begin: float
    each: float
    steps: int
    done: list[Job] = field(default_factory=list)
    """Prompts whose reading ends with it."""

    @property
    def end(self) -> float:
        return self.begin + self.each * self.steps


class Replica:
    """Its owner asks `add` and `finish` in the order of time."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.waiting: deque[Job] = deque()
        self._reading: deque[Job] = deque()
        self._writing: list[tuple[int, int, Job]] = []
        """(step of its last token, number, job), as a heap."""
        self._step = self._numbers = 0
        self._used: dict[int, int] = {}
        """Block → running prompts that have it."""
        self._idle: OrderedDict[int, None] = OrderedDict()
        """Blocks that nobody runs with, the longest unused first."""
        self._unnamed = 0
        self.run: Run | None = None
        self.busy = 0.0
        """Seconds with anything to do."""
        self.work = 0.0
        """Seconds of reading and writing, without what an empty step takes."""

    @property
    def running(self) -> int:
        return len(self._reading) + len(self._writing)

    def add(self, ask: Ask, now: float) -> bool:
        """A request arrives; whether what the replica does next has changed."""
        self.waiting.append(Job(ask, now))
        if self.run is None:
            self._plan(now)
            return True
        if self.run.steps > 1:
            # decoding is interrupted after the step that is under way
            passed = max(1, -int(-(now - self.run.begin) // self.run.each))
            if passed < self.run.steps:
                self.run.steps = passed
                return True
        return False

    def finish(self) -> tuple[list[Job], list[Job]]:
        """The run is over: prompts whose first token came with it, and answers that are whole."""
        run = self.run
        if run is None:
            return [], []
        now = run.end
        self._step += run.steps
        self.busy += now - run.begin
        self.work += run.steps * len(self._writing) * self._engine.write
        over = []
        for job in run.done:
            job.first = now
            self._reading.remove(job)
            self._numbers += 1
            heapq.heappush(self._writing, (self._step + job.ask.answer - 1, self._numbers, job))
        while self._writing and self._writing[0][0] <= self._step:
            job = heapq.heappop(self._writing)[2]
            self._release(job)
            over.append(job)
        self._plan(now)
        return run.done, over

    def _plan(self, now: float) -> None:
        engine = self._engine
        budget = engine.budget - len(self._writing)
        read = 0
        done = []
        for job in self._reading:
            part = min(job.left, budget - read)
            job.left -= part
            read += part
            if not job.left:
                done.append(job)
        while self.waiting and read < budget and self.running < engine.answers and self._admit(self.waiting[0]):
            job = self.waiting.popleft()
            self._reading.append(job)
            part = min(job.left, budget - read)
            job.left -= part
            read += part
            if not job.left:
                done.append(job)
        self.work += read * engine.read
        each = engine.step + read * engine.read + len(self._writing) * engine.write
        if read:
            self.run = Run(now, each, 1, done)
        elif self._writing:
            self.run = Run(now, each, max(1, self._writing[0][0] - self._step))
        else:
            self.run = None

    def _admit(self, job: Job) -> bool:
        """Take its blocks, if there is room: those it shares with earlier prompts first."""
        ask, used, idle = job.ask, self._used, self._idle
        blocks = ask.chain[: ask.blocks]
        hits = 0
        for block in blocks:
            if block not in used and block not in idle:
                break
            hits += 1
        woken = [block for block in blocks[:hits] if block not in used]
        unnamed = -(-(ask.tokens + ask.answer) // BLOCK) - ask.blocks
        free = self._engine.blocks - len(used) - len(idle) - self._unnamed
        evicted = unnamed + ask.blocks - hits - free
        if evicted > len(idle) - len(woken):
            return False
        for block in woken:
            del idle[block]
        for _ in range(evicted):
            idle.popitem(last=False)
        for block in blocks:
            used[block] = used.get(block, 0) + 1
            if block in idle:
                del idle[block]
        self._unnamed += unnamed
        job.unnamed = unnamed
        job.cached = min(hits * BLOCK, ask.tokens - 1)
        job.left = ask.tokens - job.cached
        return True

    def _release(self, job: Job) -> None:
        """It is done: its blocks stay, the end of its answer the first to go."""
        ask, used, idle = job.ask, self._used, self._idle
        self._unnamed -= job.unnamed
        for place in range(ask.after - 1, -1, -1):
            block = ask.chain[place]
            if place < ask.blocks:
                used[block] -= 1
                if used[block]:
                    continue
                del used[block]
            elif block in used:
                continue
            idle[block] = None
            idle.move_to_end(block)
