"""The retry budget: time and the number of requests are arguments."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import BrokenAnswer, EngineRefused, EngineTimeout, NotLoaded, RateLimited, Unreachable
from penstock.gateway.retries import REFILL, Budget, costs


def test_the_reserve_is_there_from_the_start_and_fills_again() -> None:
    one = Budget(0.2, 10, now=100.0, requests=0)
    assert [one.take(100.0, 0) for _ in range(11)] == [True] * 10 + [False]
    assert one.take(101.0, 0)
    assert not one.take(101.0, 0)
    assert all(one.take(101.0 + REFILL, 0) for _ in range(10))
    assert not one.take(101.0 + REFILL, 0)


def test_each_request_adds_its_share() -> None:
    one = Budget(0.2, 10, now=0.0, requests=0)
    while one.take(0.0, 0):
        pass
    taken = [one.take(0.0, requests) for requests in range(1, 101)]
    assert sum(taken) == 20


def test_quiet_hours_save_no_more_than_the_reserve() -> None:
    one = Budget(0.2, 10, now=0.0, requests=0)
    assert sum(one.take(86_400.0, 1_000_000) for _ in range(100)) == 10


def test_no_reserve_is_no_retry() -> None:
    one = Budget(0.5, 0, now=0.0, requests=0)
    assert not one.take(1000.0, 1000)


def test_what_costs() -> None:
    """A dead engine did no work; one that answers with an error, late, or nonsense did."""
    assert not costs(Unreachable("gone"))
    for kind in (EngineRefused, RateLimited, NotLoaded, BrokenAnswer, EngineTimeout):
        assert costs(kind("x"))


@given(
    share=st.floats(0.0, 1.0),
    reserve=st.integers(0, 50),
    steps=st.lists(st.tuples(st.floats(0.0, 5.0), st.integers(0, 20), st.integers(0, 30)), max_size=40),
)
def test_never_more_than_promised(share: float, reserve: int, steps: list[tuple[float, int, int]]) -> None:
    """Whatever comes in whatever order, over every stretch of time."""
    now, requests, taken = 0.0, 0, 0
    one = Budget(share, reserve, now=now, requests=requests)
    seen = [(now, requests, taken)]
    for seconds, more, wanted in steps:
        now += seconds
        requests += more
        for _ in range(wanted):
            taken += one.take(now, requests)
        seen.append((now, requests, taken))
    for began, asked, before in seen:
        most = reserve + reserve / REFILL * (now - began) + share * (requests - asked)
        assert taken - before <= most + 1e-6
