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
from bench.stage import stage

T = TypeVar("T")
MEMORY_ROUNDS = 3

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
        together = sum(self.wants(one.scenario.name) for one in (*traffic.TRAFFIC, *leaving.PHASES))
        alone = self.starts * (self.wants(starting.WARM.name) + self.cold)
        return (self.rounds * together + self.memory_rounds) * len(self.peers) + alone

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
                for runner in _shuffled(on.runners, shuffle):
                    note(f"round {number + 1}: {kind.scenario.name}, {runner.peer.name}")
                    if isinstance(kind, leaving.Phase):
                        yield leaving.sample(on, runner, kind, number)
                    else:
                        yield traffic.sample(on, runner, kind, number, plan.seconds, plan.warm)


def _one_by_one(plan: Plan, programs: Programs, note: Note, shuffle: random.Random) -> Iterator[Sample]:
    for number in range(plan.memory_rounds):
        for peer in _shuffled(plan.peers, shuffle):
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
