"""The policies: ours, by the very functions of the gateway, and those it is compared with."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import xxhash

from bench.fleet.replica import Engine
from bench.fleet.simulation import REPLICAS
from bench.fleet.work import BLOCK, MODEL, TENANT, Ask
from penstock.gateway import prefix, route
from penstock.gateway.prefix import Sent, Trip

NAMES = tuple(f"gpu-{number}" for number in range(REPLICAS))


class Counting:
    """What all of them may know: requests of ours under way at each replica."""

    def __init__(self, seed: int) -> None:
        self._dice = random.Random(f"policy {seed}")  # noqa: S311 - the same every time is what is wanted
        self._busy = [0] * REPLICAS

    def pick(self, number: int, ask: Ask, now: float) -> int:
        picked = self._choose(number, ask, now)
        self._busy[picked] += 1
        return picked

    def _choose(self, number: int, ask: Ask, now: float) -> int:
        raise NotImplementedError

    def began(self, number: int, replica: int) -> None:
        pass

    def over(self, number: int, replica: int) -> None:
        del number
        self._busy[replica] -= 1

    def seen(self, replica: int, running: int, waiting: int) -> None:
        pass


class RoundRobin(Counting):
    """One after the other."""

    def _choose(self, number: int, ask: Ask, now: float) -> int:
        del ask, now
        return number % REPLICAS


class LeastBusy(Counting):
    """The fewest requests of ours under way, by chance among equals."""

    def _choose(self, number: int, ask: Ask, now: float) -> int:
        del number, ask, now
        least = min(self._busy)
        return self._dice.choice([place for place, busy in enumerate(self._busy) if busy == least])


class PowerOfTwo(Counting):
    """The less busy of two by chance."""

    def _choose(self, number: int, ask: Ask, now: float) -> int:
        del number, ask, now
        one, two = self._dice.sample(range(REPLICAS), 2)
        return one if self._busy[one] <= self._busy[two] else two


def key(ask: Ask) -> bytes:
    """What hashing ties a request by: its session, else 2 KiB of its prompt, else what there is."""
    if ask.session:
        return ask.session.encode()
    start = ask.body.find(b'"messages"')
    return ask.body[start : start + 2048]


def owners(tie: bytes) -> list[int]:
    """All replicas by rendezvous hashing."""
    seed = xxhash.xxh3_64_intdigest(tie)
    return sorted(range(REPLICAS), key=lambda place: xxhash.xxh3_64_intdigest(NAMES[place], seed), reverse=True)


class Consistent(Counting):
    """The owner by hash, whatever it carries."""

    def _choose(self, number: int, ask: Ask, now: float) -> int:
        del number, now
        return owners(key(ask))[0]


class Bounded(Counting):
    """The owner by hash that carries at most 1.25 times the average; short prompts without a session go to the least busy.

    What the gateway did before it looked at prefixes.
    """

    def _choose(self, number: int, ask: Ask, now: float) -> int:
        del number, now
        if not ask.session and len(ask.body) < 2048:
            return min(range(REPLICAS), key=self._busy.__getitem__)
        bound = 1.25 * (1 + sum(self._busy) / REPLICAS)
        return min(owners(key(ask)), key=lambda place: self._busy[place] > bound)


class Ours(Counting):
    """`penstock.gateway.route` and `penstock.gateway.prefix`, with the load as the gateway's fleet reckons it."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self._sent = {name: Sent() for name in NAMES}
        for one in self._sent.values():
            one.has_room(Engine().blocks * BLOCK)
        self._trips: dict[int, Trip] = {}
        self._gauges = [(0, 0)] * REPLICAS

    def _choose(self, number: int, ask: Ask, now: float) -> int:
        asked = prefix.prompt(TENANT, MODEL, ask.session, ask.body)
        picked = route.order(NAMES, asked, self._load, NAMES, self._sent, now)[0]
        trip = self._trips[number] = Trip(asked)
        trip.begin(self._sent[picked], now)
        return NAMES.index(picked)

    def _load(self, name: str) -> float:
        place = NAMES.index(name)
        running, waiting = self._gauges[place]
        return max(float(self._busy[place]), running) + waiting

    def began(self, number: int, replica: int) -> None:
        del replica
        self._trips[number].over()

    def over(self, number: int, replica: int) -> None:
        super().over(number, replica)
        self._trips.pop(number).over()

    def seen(self, replica: int, running: int, waiting: int) -> None:
        self._gauges[replica] = (running, waiting)


OURS = "penstock"
POLICIES: dict[str, Callable[[int], Counting]] = {
    OURS: Ours,
    "round robin": RoundRobin,
    "least busy": LeastBusy,
    "power of two": PowerOfTwo,
    "consistent hashing": Consistent,
    "bounded rendezvous": Bounded,
}


def names() -> Sequence[str]:
    return tuple(POLICIES)
