"""Who may answer, in which order: pure functions of the alias, the request, and the load and knowledge of replicas."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

import xxhash

from penstock.config import Alias
from penstock.gateway.prefix import ENDS, REQUEST, Prompt, Sent
from penstock.types import Operation

BOUND = 1.25
"""A replica keeps its conversations until it carries this many times one request above the average."""
LONGER = 16 * 1024
"""Bytes of reading by which it may be behind the best one and still keep them."""
NEAR = 1024
"""Bytes of reading by which replicas that know nothing of a prompt are as good as each other."""
NAMED = 4096
"""The same for a conversation with a name: workers that never heard of it shall agree on its replica."""

Load = Callable[[str], float]

READ = frozenset({Operation.CHAT, Operation.COMPLETION, Operation.RESPONSES, Operation.MESSAGES})
"""What is read into a prefix cache; everything else goes where there is room."""


def eligible(alias: Alias, operation: Operation) -> Sequence[int]:
    """Positions of the targets that policy lets answer this operation."""
    if alias.fallback == "never":
        return (0,)
    if alias.fallback == "same-model" or operation.pinned:
        model = alias.targets[0].model
        return [rank for rank, target in enumerate(alias.targets) if target.model == model]
    return range(len(alias.targets))


def order(
    names: Sequence[str],
    asked: Prompt | None,
    load: Load,
    well: Collection[str],
    sent: Mapping[str, Sent],
    now: float = 0.0,
) -> Sequence[str]:
    """Replicas of one target: `well` are those of them that are up, and come first, the one that will begin to answer soonest before all.

    A conversation stays where it was unless that one is overloaded. Where nobody knows a prompt and several replicas have
    the same room, each prompt has an order of its own among them, the same in every worker.
    """
    if len(names) == 1:
        return names
    if asked is None:
        return sorted(names, key=load)
    if len(well) == len(names) or not well:
        return _ordered(names, asked, load, sent, now)
    up = [name for name in names if name in well]
    down = [name for name in names if name not in well]
    return [*_ordered(up, asked, load, sent, now), *sorted(down, key=load)]


def _ordered(names: Sequence[str], asked: Prompt, load: Load, sent: Mapping[str, Sent], now: float) -> list[str]:
    # One loop instead of several short ones: this is asked for every request to more than one replica.
    loads: dict[str, float] = {}
    heard: list[tuple[str, int, float, int]] = []
    total, fresh = 0.0, True
    length, last = asked.length, asked.marks[-1] if asked.marks and not asked.session else 0
    for name in names:
        one = sent[name]
        lately = one.given(now)
        total += lately
        known = ENDS[len(asked.marks) - 1] if last in one.young else one.known(asked)
        fresh = fresh and not known
        loads[name] = load(name)
        heard.append((name, one.ahead, lately, length - known))
    mean = total / len(names) or 1.0
    prices: dict[str, float] = {}
    for name, ahead, lately, unread in heard:
        # What waits there, and what is new to it. New work displaces what others may ask for again, and that the more, the
        # more new work a replica was given lately beside the others.
        prices[name] = ahead + unread + REQUEST * loads[name] + (unread + REQUEST) * lately / mean
    found = sorted(names, key=prices.__getitem__)
    if not fresh:
        if asked.session:
            _keep(found, asked.session, loads, prices, sent)
    elif asked.key:
        key, best = asked.key, prices[found[0]]
        near = sum(price <= best + (NAMED if asked.session else NEAR) for price in prices.values())
        found[:near] = sorted(found[:near], key=lambda name: xxhash.xxh3_64_intdigest(name, key), reverse=True)
    return found


def _keep(
    found: list[str], session: int, loads: Mapping[str, float], prices: Mapping[str, float], sent: Mapping[str, Sent]
) -> None:
    """Put the replica that has the conversation first, unless it is overloaded."""
    bound = BOUND * (1 + sum(loads.values()) / len(loads))
    most = prices[found[0]] + LONGER
    for place, name in enumerate(found):
        if sent[name].knows(session) and loads[name] <= bound and prices[name] <= most:
            found.insert(0, found.pop(place))
            return
