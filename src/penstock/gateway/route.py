"""Who may answer, in which order: a pure function of the alias, the request and what is known of the fleet.

No state, no clock and no I/O; load and health come in as values.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

import msgspec
import xxhash

from penstock.config import Alias, Target
from penstock.types import Operation

BOUND = 1.25
"""A replica keeps its sessions until it carries this many times the average load."""
PREFIX = 2048
"""Bytes of a prompt that make two requests relatives in a prefix cache; shorter prompts go where there is room."""


class View(Protocol):
    """What routing needs to know of the fleet."""

    def healthy(self, backend: str, model: str) -> bool:
        """Up, serving this model, its breaker not open."""

    def load(self, backend: str) -> float:
        """Requests it carries: ours and, where the engine says so, everybody's."""


class Candidate(msgspec.Struct, frozen=True):
    """One backend that may answer, and the model to ask of it."""

    backend: str
    model: str
    rank: int
    """Position of its target in the alias: above 0 is a fallback."""


def eligible(alias: Alias, operation: Operation) -> Sequence[int]:
    """Positions of the targets that policy lets answer this operation."""
    if alias.fallback == "never":
        return (0,)
    if alias.fallback == "same-model" or operation.pinned:
        model = alias.targets[0].model
        return [rank for rank, target in enumerate(alias.targets) if target.model == model]
    return range(len(alias.targets))


def candidates(alias: Alias, operation: Operation, affinity: bytes | None, fleet: View) -> list[Candidate]:
    """Backends in the order to try: healthy ones by target and affinity, then the others in the same order."""
    healthy: list[Candidate] = []
    others: list[Candidate] = []
    for rank in eligible(alias, operation):
        target = alias.targets[rank]
        for name in order(target, affinity, fleet):
            group = healthy if fleet.healthy(name, target.model) else others
            group.append(Candidate(name, target.model, rank))
    return healthy + others if others else healthy


def order(target: Target, affinity: bytes | None, fleet: View) -> Sequence[str]:
    """Replicas of one target: by rendezvous hashing with bounded load, or by load where nothing ties the request."""
    names = target.backends
    if len(names) == 1:
        return names
    if affinity is None:
        return sorted(names, key=fleet.load)
    owners = sorted(names, key=lambda name: xxhash.xxh3_64_intdigest(affinity, _seed(name)), reverse=True)
    bound = BOUND * (1 + _average(fleet.load(name) for name in names if fleet.healthy(name, target.model)))
    return sorted(owners, key=lambda name: fleet.load(name) > bound)


def _seed(name: str) -> int:
    return xxhash.xxh3_64_intdigest(name)


def _average(loads: Iterable[float]) -> float:
    values = list(loads)
    return sum(values) / len(values) if values else 0.0


def affinity(tenant: str, session: str | None, body: bytes) -> bytes | None:
    """What ties a request to a replica: tenant and conversation, else tenant and the beginning of a long prompt."""
    if session:
        return f"{tenant}\0{session}".encode()
    if len(body) < PREFIX:
        return None
    start = max(body.find(b'"messages"'), body.find(b'"prompt"'), 0)
    return tenant.encode() + b"\0" + body[start : start + PREFIX]
