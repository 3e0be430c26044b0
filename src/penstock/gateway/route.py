"""Who may answer, in which order: pure functions of the alias, the request, and the load and health of replicas."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import xxhash

from penstock.config import Alias
from penstock.types import Operation

BOUND = 1.25
"""A replica keeps its sessions until it carries this many times the average load."""
PREFIX = 2048
"""Bytes of a prompt that make two requests relatives in a prefix cache; shorter prompts go where there is room."""

Load = Callable[[str], float]


def eligible(alias: Alias, operation: Operation) -> Sequence[int]:
    """Positions of the targets that policy lets answer this operation."""
    if alias.fallback == "never":
        return (0,)
    if alias.fallback == "same-model" or operation.pinned:
        model = alias.targets[0].model
        return [rank for rank, target in enumerate(alias.targets) if target.model == model]
    return range(len(alias.targets))


def order(names: Sequence[str], affinity: bytes | None, load: Load, well: Collection[str]) -> Sequence[str]:
    """Replicas of one target: by rendezvous hashing with bounded load, or by load where nothing ties the request.

    `well` are those that are up; the bound is relative to the average load of these.
    """
    if len(names) == 1:
        return names
    if affinity is None:
        return sorted(names, key=load)
    owners = sorted(names, key=lambda name: _weight(affinity, name), reverse=True)
    carried = [load(name) for name in names if name in well]
    bound = BOUND * (1 + (sum(carried) / len(carried) if carried else 0.0))
    return sorted(owners, key=lambda name: load(name) > bound)


def _weight(affinity: bytes, name: str) -> int:
    return xxhash.xxh3_64_intdigest(affinity, xxhash.xxh3_64_intdigest(name))


def affinity(tenant: str, session: str | None, body: bytes) -> bytes | None:
    """What ties a request to a replica: tenant and conversation, else tenant and the beginning of a long prompt."""
    if session:
        return f"{tenant}\0{session}".encode()
    if len(body) < PREFIX:
        return None
    start = max(body.find(b'"messages"'), body.find(b'"prompt"'), 0)
    return tenant.encode() + b"\0" + body[start : start + PREFIX]
