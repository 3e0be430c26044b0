"""Who may answer, in which order: pure functions of the alias, the request, and the load and health of replicas."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

import xxhash

from penstock.config import Alias
from penstock.gateway.prefix import Prompt, Sent
from penstock.types import Operation

BOUND = 1.25
"""A replica keeps its sessions until it carries this many times the average load."""
PREFIX = 2048
"""Bytes of a prompt that make two requests relatives in a prefix cache; shorter prompts go where there is room."""

BUSY = 1024
"""Bytes of reading that one request under way weighs: it takes its share of every step of the engine."""
STAY = 1.0
PRESSURE = 0.5
NEAR = 1024
"""Bytes of reading by which two replicas may differ and still be as good as each other."""


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


def soonest(
    names: Sequence[str],
    asked: Prompt | None,
    load: Load,
    well: Collection[str],
    sent: Mapping[str, Sent],
    now: float = 0.0,
) -> Sequence[str]:
    """Replicas of one target, the one that will begin to answer soonest first.

    That is the one with the least to read: what it was sent and has not read yet, what it does not know of this prompt, and
    its share of work for those that it answers already. Where that is nearly the same, each conversation has an order of its own.
    """
    if len(names) == 1:
        return names
    if asked is None:
        return sorted(names, key=load)
    del well
    length = asked.length
    flow = {name: sent[name].inflow(now) for name in names}
    mean = sum(flow.values()) / len(flow) or 1.0
    price = {
        name: sent[name].ahead
        + (STAY + PRESSURE * flow[name] / mean) * (length - sent[name].known(asked))
        + BUSY * load(name)
        for name in names
    }
    found = sorted(names, key=price.__getitem__)
    bound = price[found[0]] + NEAR
    near = sum(cost <= bound for cost in price.values())
    if near > 1:
        key = asked.key
        if key:
            found[:near] = sorted(found[:near], key=lambda name: xxhash.xxh3_64_intdigest(name, key), reverse=True)
    return found


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
