"""The run: rounds in which every peer does the same work within the same minute, in an order shuffled anew each time."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

from bench import leaving, starting, streams, traffic
from bench.build import Programs
from bench.peers import DIRECT, OURS, Peer
from bench.samples import Sample, Scenario
from bench.stage import Runner, Stage, stage

T = TypeVar("T")
MEMORY_ROUNDS = 3
SLICES = 4
SLOW_ROUNDS = 2
"""Rounds of a peer that is too slow for the others' windows; one for its memory."""
SLOW_STRETCH = 4.0
"""How much longer its window is, which is one piece."""

Note = Callable[[str], None]
"""Told what is about to be measured."""


@dataclass(frozen=True)
class Plan:
    """What to run. `scenarios` names scenarios or their beginnings; empty means all."""

    peers: tuple[Peer, ...]
    rounds: int
    seconds: float
    warm: float
    seed: int
    scenarios: tuple[str, ...] = ()
    cold: bool = False
    command: str = ""
    """What a person typed for it."""

    def wants(self, name: str) -> bool:
        return not self.scenarios or any(name.startswith(begin) for begin in self.scenarios)

    def measures(self, peer: Peer, scenarios: Sequence[Scenario], number: int) -> bool:
        """Whether this peer is measured in one of these scenarios in this round."""
        if peer.slow and number >= SLOW_ROUNDS:
            return False
        wanted = [one.name for one in scenarios if self.wants(one.name)]
        return bool(wanted) and (not peer.only or any(name.startswith(peer.only) for name in wanted))

    @property
    def memory_rounds(self) -> int:
        return min(self.rounds, MEMORY_ROUNDS) if any(self.wants(one.name) for one in streams.SCENARIOS) else 0

    @property
    def starts(self) -> bool:
        return any(peer.name == OURS for peer in self.peers)

    @property
    def steps(self) -> int:
        """How many notes a run will give."""
        rounds = range(self.rounds)
        loads = sum(
            1 if peer.slow else SLICES
            for number in rounds
            for kind in traffic.TRAFFIC
            for peer in (*self.peers, *([DIRECT] if kind.timed else []))
            if self.measures(peer, kind.scenarios, number)
        )
        others = sum(
            self.measures(peer, [phase.scenario], number)
            for number in rounds
            for phase in leaving.PHASES
            for peer in self.subjects
        )
        held = sum(number == 0 or not peer.slow for number in range(self.memory_rounds) for peer in self.subjects)
        return loads + others + held + self.starts * (self.wants(starting.WARM.name) + self.cold)

    @property
    def subjects(self) -> tuple[Peer, ...]:
        """The peers without the control, which only says how noisy a ratio is, and those that are there for one figure."""
        return tuple(peer for peer in self.peers if not peer.control and not peer.only)

    def as_dict(self) -> dict[str, object]:
        return asdict(self) | {"peers": [peer.name for peer in self.peers]}


def run(plan: Plan, programs: Programs, note: Note) -> list[Sample]:
    shuffle = random.Random(plan.seed)  # noqa: S311 - an order, not a secret
    samples = list(_side_by_side(plan, programs, note, shuffle))
    samples.extend(_one_by_one(plan, programs, note, shuffle))
    samples.extend(_starts(plan, note))
    return samples


def _side_by_side(plan: Plan, programs: Programs, note: Note, shuffle: random.Random) -> Iterator[Sample]:
    loads = [one for one in traffic.TRAFFIC if any(plan.wants(scenario.name) for scenario in one.scenarios)]
    phases = [one for one in leaving.PHASES if plan.wants(one.scenario.name)]
    if not loads and not phases:
        return
    with _folder() as folder, stage(programs, plan.peers, folder) as on:
        for number in range(plan.rounds):
            for kind in loads:
                yield from _in_slices(plan, on, kind, number, note, shuffle)
            for phase in phases:
                able = [one for one in on.runners if one.peer in plan.subjects]
                for runner in _shuffled(able, shuffle):
                    if plan.measures(runner.peer, [phase.scenario], number):
                        note(f"round {number + 1}: {phase.scenario.name}, {runner.peer.name}")
                        yield leaving.sample(on, runner, phase, number)


def _in_slices(
    plan: Plan, on: Stage, kind: traffic.Traffic, number: int, note: Note, shuffle: random.Random
) -> Iterator[Sample]:
    """Short windows in turn instead of one long one each: whatever else the machine does then falls on all of them."""
    runners = [*on.runners, *([on.direct] if kind.timed else [])]
    seen: dict[str, list[Sample]] = {
        runner.peer.name: [] for runner in runners if plan.measures(runner.peer, kind.scenarios, number)
    }
    for part in range(SLICES):
        for runner in _shuffled(runners, shuffle):
            if runner.peer.name in seen and not (part and runner.peer.slow):
                note(f"round {number + 1}.{part + 1}: {kind.scenario.name}, {runner.peer.name}")
                seen[runner.peer.name].append(_window(plan, on, runner, kind, number))
    found = {name: traffic.samples(kind, slices) for name, slices in seen.items()}
    direct = traffic.times(kind, found.pop(DIRECT.name, []))
    yield from direct
    for several in found.values():
        yield from traffic.added(several, direct)


def _window(plan: Plan, on: Stage, runner: Runner, kind: traffic.Traffic, number: int) -> Sample:
    share = SLOW_STRETCH if runner.peer.slow else 1 / SLICES
    return traffic.window(on, runner, kind, number, plan.seconds * share, plan.warm * share)


def _one_by_one(plan: Plan, programs: Programs, note: Note, shuffle: random.Random) -> Iterator[Sample]:
    for number in range(plan.memory_rounds):
        for peer in _shuffled([one for one in plan.subjects if number == 0 or not one.slow], shuffle):
            note(f"round {number + 1}: memory, {peer.name}")
            with _folder() as folder, stage(programs, [peer], folder) as on:
                yield from streams.samples(on, on.runners[0], number)


def _starts(plan: Plan, note: Note) -> Iterator[Sample]:
    if not plan.starts:
        return
    with _folder() as folder:
        if plan.wants(starting.WARM.name):
            note("warm start")
            yield from starting.warm_samples(folder)
        if plan.cold:
            note("cold start from a clean clone")
            yield starting.cold_sample(folder)


def _shuffled(things: Sequence[T], shuffle: random.Random) -> list[T]:
    return shuffle.sample(list(things), len(things))


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as name:
        yield Path(name)
