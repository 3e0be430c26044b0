"""What a decision costs: microseconds of `penstock.gateway.prefix` and `route` for one request, by the size of its body.

Run with `python -m bench.fleet.cost`. An alias whose targets have one backend each never comes here.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence

from bench.fleet.policies import NAMES
from penstock.gateway import prefix, route
from penstock.gateway.prefix import Prompt, Sent, Trip

SIZES = (200, 2_000, 8_000, 100_000, 1_000_000)
"""Bytes of a body."""
ROUNDS = 15
CALLS = 200


def main() -> None:
    """A table on stdout."""
    print(
        f"{'body, bytes':>12} {'marks':>6} {'prompt':>8} {'order, 8':>9} {'trip':>8} {'all':>8}   µs, median of {ROUNDS} rounds"
    )
    for size in SIZES:
        sent = {name: Sent() for name in NAMES}
        bodies = [_body(size, number) for number in range(20)]
        asked = [prefix.prompt("t", "m", None, body) for body in bodies]
        for place, one in enumerate(asked):
            Trip(one).begin(sent[NAMES[place % len(NAMES)]], 0.0)
        parts = [_each(call) for call in _calls(bodies, asked, sent)]
        print(f"{size:>12,} {len(asked[0].marks):>6}" + "".join(f" {part:>8.1f}" for part in (*parts, sum(parts))))


def _calls(
    bodies: Sequence[bytes], asked: Sequence[Prompt], sent: Mapping[str, Sent]
) -> tuple[Callable[[int], object], ...]:
    """The three parts of a decision."""

    def read(number: int) -> Prompt:
        return prefix.prompt("t", "m", None, bodies[number % len(bodies)])

    def order(number: int) -> Sequence[str]:
        return route.order(NAMES, asked[number % len(asked)], _load, NAMES, sent, 1.0)

    def trip(number: int) -> None:
        one = Trip(asked[number % len(asked)])
        one.begin(sent[NAMES[number % len(NAMES)]], 1.0)
        one.over()

    return read, order, trip


def _body(size: int, number: int) -> bytes:
    text = f"{number % 10:04d}" * (size // 8) + f"{number:04d}" * (size // 8)
    return b'{"model":"m","messages":[{"role":"user","content":"%b"}],"stream":true}' % text.encode()


def _load(name: str) -> float:
    return float(len(name) % 3)


def _each(call: Callable[[int], object]) -> float:
    """Microseconds of CPU time for one call."""
    rounds = []
    for _ in range(ROUNDS):
        begin = time.process_time_ns()
        for number in range(CALLS):
            call(number)
        rounds.append((time.process_time_ns() - begin) / CALLS / 1000)
    return statistics.median(rounds)


if __name__ == "__main__":
    main()
