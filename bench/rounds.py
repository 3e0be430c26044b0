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
from bench.peers import OURS, Peer
from bench.samples import Sample
from bench.stage import Stage, stage

T = TypeVar("T")
MEMORY_ROUNDS = 3
SLICES = 4

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

    def wants(self, name: str) -> bool:
        return not self.scenarios or any(name.startswith(begin) for begin in self.scenarios)

    @property
    def memory_rounds(self) -> int:
        return min(self.rounds, MEMORY_ROUNDS) if any(self.wants(one.name) for one in streams.SCENARIOS) else 0

    @property
    def starts(self) -> bool:
        return any(peer.name == OURS for peer in self.peers)

    @property
    def steps(self) -> int:
        """How many notes a run will give."""
        loads = SLICES * sum(self.wants(one.scenario.name) for one in traffic.TRAFFIC)
        others = sum(self.wants(phase.scenario.name) for phase in leaving.PHASES)
        starts = self.starts * (self.wants(starting.WARM.name) + self.cold)
        several = self.rounds * (loads * len(self.peers) + others * len(self.subjects))
        return several + self.memory_rounds * len(self.subjects) + starts

    @property
    def subjects(self) -> tuple[Peer, ...]:
        """The peers without the control, which only says how noisy a ratio is."""
        return tuple(peer for peer in self.peers if not peer.control)

    def as_dict(self) -> dict[str, object]:
        return asdict(self) | {"peers": [peer.name for peer in self.peers]}


def run(plan: Plan, programs: Programs, note: Note) -> list[Sample]:
    shuffle = random.Random(plan.seed)  # noqa: S311 - an order, not a secret
    samples = list(_side_by_side(plan, programs, note, shuffle))
    samples.extend(_one_by_one(plan, programs, note, shuffle))
    samples.extend(_starts(plan, note))
    return samples


def _side_by_side(plan: Plan, programs: Programs, note: Note, shuffle: random.Random) -> Iterator[Sample]:
    kinds = [one for one in (*traffic.TRAFFIC, *leaving.PHASES) if plan.wants(one.scenario.name)]
    if not kinds:
        return
    with _folder() as folder, stage(programs, plan.peers, folder) as on:
        for number in range(plan.rounds):
            for kind in kinds:
                if isinstance(kind, traffic.Traffic):
                    yield from _in_slices(plan, on, kind, number, note, shuffle)
                else:
                    for runner in _shuffled([one for one in on.runners if not one.peer.control], shuffle):
                        note(f"round {number + 1}: {kind.scenario.name}, {runner.peer.name}")
                        yield leaving.sample(on, runner, kind, number)


def _in_slices(
    plan: Plan, on: Stage, kind: traffic.Traffic, number: int, note: Note, shuffle: random.Random
) -> Iterator[Sample]:
    """Short windows in turn instead of one long one each: whatever else the machine does then falls on all of them."""
    seen: dict[str, list[Sample]] = {runner.peer.name: [] for runner in on.runners}
    for part in range(SLICES):
        for runner in _shuffled(on.runners, shuffle):
            note(f"round {number + 1}.{part + 1}: {kind.scenario.name}, {runner.peer.name}")
            one = traffic.window(on, runner, kind, number, plan.seconds / SLICES, plan.warm / SLICES)
            seen[runner.peer.name].append(one)
    for slices in seen.values():
        yield traffic.sample(slices)


def _one_by_one(plan: Plan, programs: Programs, note: Note, shuffle: random.Random) -> Iterator[Sample]:
    for number in range(plan.memory_rounds):
        for peer in _shuffled(plan.subjects, shuffle):
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
