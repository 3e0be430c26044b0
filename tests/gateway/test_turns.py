"""Shares between tenants that wait: nobody starves, and those who always wait get the same."""

from __future__ import annotations

from collections import deque

from hypothesis import given
from hypothesis import strategies as st

from penstock.gateway.turns import DEBT, KEPT, LARGEST, SMALLEST, Turns, cost_of

SIZES = st.sampled_from([0, 100, 4_000, 60_000, 400_000, 40_000_000])
TENANTS = st.sampled_from(["a", "b", "c", "d"])


def next_one(turns: Turns, rows: dict[str, deque[int]]) -> tuple[str, int]:
    """As admission does: the smallest account of those who wait goes, and is charged."""
    tenant = min((one for one, row in rows.items() if row), key=lambda one: (turns.spent(one), one))
    cost = cost_of(rows[tenant].popleft())
    turns.started(tenant, cost)
    return tenant, cost


@given(st.lists(st.tuples(TENANTS, SIZES, st.integers(0, 40_000), st.booleans()), max_size=300))
def test_nobody_waits_longer_than_the_bound(steps: list[tuple[str, int, int, bool]]) -> None:
    """Between two turns of a tenant that waits each other one has a bounded number, whatever was charged before."""
    turns, rows = Turns(), {name: deque[int]() for name in "abcd"}
    others: dict[str, dict[str, int]] = {}
    for tenant, size, tokens, goes in steps:
        if not rows[tenant]:
            turns.comes(tenant)
            others[tenant] = {}
        rows[tenant].append(size)
        turns.charge(tenant, tokens)
        if goes:
            started, _ = next_one(turns, rows)
            others[started] = {}
            for waits in (name for name, row in rows.items() if row and name != started):
                others[waits][started] = others[waits].get(started, 0) + 1
                assert others[waits][started] <= DEBT // SMALLEST + 1


@given(st.lists(st.lists(SIZES, min_size=1, max_size=5), min_size=2, max_size=4))
def test_those_who_always_wait_get_the_same(kinds: list[list[int]]) -> None:
    """Whatever each sends: at any time what two of them were served differs by one request of the largest kind."""
    names = "abcd"[: len(kinds)]
    turns = Turns()
    rows = {name: deque(kind * 100) for name, kind in zip(names, kinds, strict=True)}
    total = dict.fromkeys(names, 0)
    for name in names:
        turns.comes(name)
    while all(rows.values()):
        tenant, cost = next_one(turns, rows)
        total[tenant] += cost
        assert max(total.values()) - min(total.values()) <= LARGEST


def test_a_debt_has_a_bound() -> None:
    turns = Turns()
    for _ in range(1000):
        turns.charge("a", LARGEST)
    assert turns.spent("a") == DEBT
    assert turns.spent("nobody yet") == 0


def test_a_newcomer_begins_where_the_others_are() -> None:
    turns = Turns()
    turns.comes("old")
    for _ in range(100):
        turns.started("old", SMALLEST)
    turns.comes("new")
    assert turns.spent("old") - SMALLEST == turns.spent("new")


def test_accounts_are_bounded() -> None:
    turns = Turns()
    for number in range(10 * KEPT):
        turns.comes(f"t{number}")
        turns.charge(f"t{number}", 1 + number)
    turns.comes("last")
    assert len(turns._spent) <= KEPT + 1


def test_a_request_costs_something_and_not_everything() -> None:
    assert cost_of(0) == SMALLEST
    assert cost_of(32 * 2**20) == LARGEST
