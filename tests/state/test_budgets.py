"""Blocks of budgets in the database itself: never over a limit however many take at once, drained by its clock, slots lent for a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
from sqlalchemy import text

from penstock.state.budgets import HOLD, Budgets
from penstock.state.row import Grant, Row, Sum, Want, Whose
from penstock.state.store import Store
from penstock.state.usage import Usage

DAY = Row("key:a", "tokens_per_day", "2026-11-21")
MINUTE = Row("key:a", "tokens_per_minute")
SLOTS = Row("key:a", "concurrent")


@pytest.fixture
def store(state_url: str) -> Iterator[Store]:
    with Store(state_url) as opened:
        yield opened


def at(store: Store, now: float) -> Budgets:
    """Budgets at a time that a test sets."""
    return Budgets(store, clock=f"CAST({now} AS FLOAT)")


def test_as_much_as_fits(store: Store) -> None:
    budgets = Budgets(store)
    assert budgets.take([Want(DAY, 100, 10, 60)]) == [Grant(60, 40.0)]
    assert budgets.take([Want(DAY, 100, 10, 60)]) == [Grant(10, 30.0)]
    assert budgets.take([Want(DAY, 100, 31, 60)]) == [Grant(0, 30.0)]
    budgets.change([(DAY, -50)])
    assert budgets.take([Want(DAY, 100, 80, 80)]) == [Grant(80, 0.0)]
    assert budgets.taken(DAY) == 100


def test_what_was_used_beyond_is_charged_whatever_the_limit_is(store: Store) -> None:
    budgets = Budgets(store)
    budgets.take([Want(DAY, 100, 100, 100)])
    budgets.change([(DAY, 30)])
    assert budgets.take([Want(DAY, 100, 1, 1)]) == [Grant(0, -30.0)]
    fresh = Row("key:b", "tokens_per_day", "2026-11-21")
    budgets.change([(fresh, 5), (Row("key:c", "x"), -5)])
    assert budgets.taken(fresh) == 5
    assert budgets.taken(Row("key:c", "x")) == 0


def test_a_minute_comes_back_evenly(store: Store) -> None:
    def want(least: int, most: int) -> list[Want]:
        return [Want(MINUTE, 60, least, most, rate=1.0)]

    assert at(store, 1000.0).take(want(60, 60)) == [Grant(60, 0.0)]
    assert at(store, 1000.0).take(want(1, 1)) == [Grant(0, 0.0)]
    assert at(store, 1010.0).take(want(10, 20)) == [Grant(10, 0.0)]
    assert at(store, 5000.0).take(want(60, 60)) == [Grant(60, 0.0)]


def test_a_clock_that_jumps_back_gives_nothing_and_stops_nothing(store: Store) -> None:
    want = [Want(MINUTE, 60, 60, 60, rate=1.0)]
    at(store, 100_000.0).take(want)
    assert at(store, 1000.0).take(want) == [Grant(0, 0.0)]
    assert at(store, 1000.0).take([Want(MINUTE, 60, 1, 1, rate=1.0)])[0].granted == 0
    assert at(store, 1070.0).take([Want(MINUTE, 60, 50, 50, rate=1.0)])[0].granted == 50


def test_many_at_once_take_no_more_than_there_is(state_url: str) -> None:
    """Row 25 of the faults: the race for what is left, in the database itself."""
    taken: list[int] = []

    def spend() -> None:
        with Store(state_url) as own:
            budgets = Budgets(own)
            while True:
                grants = budgets.take([Want(DAY, 997, 3, 7), Want(Row("tenant:t", "tokens_per_day", "d"), 10**6, 1, 5)])
                if not grants[0].granted:
                    return
                taken.append(grants[0].granted)

    with Store(state_url):
        threads = [threading.Thread(target=spend) for _ in range(4)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
    assert 997 - 3 < sum(taken) <= 997


def test_slots_are_lent_for_a_time(store: Store) -> None:
    def want(least: int, most: int, have: int = 0) -> Want:
        return Want(SLOTS, 3, least, most, slots=True, have=have)

    begun = at(store, 1000.0)
    assert begun.take_slots("one", want(1, 2)) == Grant(2, 1.0)
    assert begun.take_slots("two", want(1, 5)) == Grant(1, 0.0)
    assert begun.take_slots("two", want(1, 1, have=1)) == Grant(0, 0.0)
    begun.keep_slots("one", "key:a", 1)
    assert begun.take_slots("two", want(1, 5, have=1)) == Grant(1, 0.0)
    # `one` is killed, `two` renews
    late = at(store, 1000.0 + HOLD - 1)
    assert late.renew("two", {"key:a": 2, "key:other": 4}) == {"key:a": 2}
    after = at(store, 1000.0 + HOLD + 1)
    assert after.take_slots("three", want(1, 5)) == Grant(1, 0.0)
    # `one` was only standing still: what it had is gone
    assert after.renew("one", {"key:a": 1}) == {}
    after.keep_slots("two", "key:a", 0)
    assert after.take_slots("one", want(2, 2)) == Grant(2, 0.0)


def test_slots_are_never_lent_twice(state_url: str) -> None:
    held: list[int] = []
    most: list[int] = []
    lock = threading.Lock()

    def work(process: str) -> None:
        with Store(state_url) as own:
            budgets = Budgets(own)
            for _ in range(15):
                granted = budgets.take_slots(process, Want(SLOTS, 2, 1, 1, slots=True)).granted
                if granted:
                    with lock:
                        held.append(granted)
                        most.append(sum(held))
                    with lock:
                        held.pop()
                    budgets.keep_slots(process, "key:a", 0)

    with Store(state_url):
        threads = [threading.Thread(target=work, args=(f"p{number}",)) for number in range(4)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
    assert most
    assert max(most) <= 2


def test_the_databases_clock_is_the_time(store: Store) -> None:
    Budgets(store).take([Want(MINUTE, 60, 1, 1, rate=1.0)])
    with store.begin("Looking") as connection:
        found = float(connection.execute(text("SELECT at FROM budgets")).scalar() or 0.0)
    assert abs(found - time.time()) < 60.0


def test_use_adds_up(store: Store) -> None:
    usage = Usage(store)
    usage.add([])
    for _ in range(2):
        usage.add([(Whose("2026-11-20", "red", "k"), Sum(1, 2, 3, 4)), (Whose("2026-11-21", "red", "k"), Sum(1))])
    (found,) = usage.since("2026-11-20")
    assert (found.sum.requests, found.sum.refused, found.sum.prompt_tokens, found.sum.completion_tokens) == (4, 4, 6, 8)
    assert usage.since("2026-11-21")[0].sum.requests == 2
    assert usage.since("2026-11-22") == []


def test_old_periods_are_forgotten(store: Store) -> None:
    budgets = Budgets(store)
    old = Row("key:a", "tokens_per_day", "2026-08-01")
    budgets.take([Want(one, 10, 1, 1) for one in (old, DAY, MINUTE)])
    budgets.forget("2026-10-01")
    assert (budgets.taken(old), budgets.taken(DAY), budgets.taken(MINUTE)) == (0.0, 1.0, 1.0)
