"""The core of quotas under any interleaving: never over a limit but by what engines counted beyond an estimate, never below zero."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from penstock.gateway import rate_head
from penstock.gateway.quota import Book, Held, Lease, Limit, Unit, limits_of
from penstock.types import KeyLimits

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC).timestamp()
LIMIT = 1000


class _Shared(RuleBasedStateMachine):
    """Three processes that spend one budget, through a store that does what the database does."""

    running: Bundle[tuple[int, Held]] = Bundle("running")

    def __init__(self) -> None:
        super().__init__()
        self.taken = 0
        self.spent = 0
        self.beyond = 0
        limit = Limit("key:a", "tokens_per_day", Unit.TOKENS, LIMIT, "day")
        self.books = [Book([limit], [Lease(limit, NOON)]) for _ in range(3)]
        self.dead = 0

    @rule(process=st.integers(0, 2), amount=st.integers(1, 400))
    def take(self, process: int, amount: int) -> None:
        lease = self.books[process].leases[0]
        granted = amount if self.taken + amount <= LIMIT else 0
        self.taken += granted
        lease.granted(granted, LIMIT - self.taken, 0.0)

    @rule(process=st.integers(0, 2))
    def give_back(self, process: int) -> None:
        self.taken -= self.books[process].leases[0].spare()

    @rule(process=st.integers(0, 2))
    def charge(self, process: int) -> None:
        self.taken += self.books[process].leases[0].debt()

    @rule(target=running, process=st.integers(0, 2), tokens=st.integers(0, 300))
    def reserve(self, process: int, tokens: int) -> tuple[int, Held]:
        book = self.books[process]
        free = book.leases[0].free
        held = book.reserve(tokens, 0.0)
        assert (held is not None) == (free >= tokens)
        return process, held or Held(book, (), 0)

    @rule(one=consumes(running), share=st.floats(0, 1.5))
    def settle(self, one: tuple[int, Held], share: float) -> None:
        _, held = one
        real = int(held.tokens * share)
        assert held.settle(real, 1, 0.0)
        assert not held.settle(real, 1, 0.0)
        if held.leases:
            self.spent += real
            self.beyond += max(real - held.tokens, 0)

    @rule(process=st.integers(0, 2))
    def die(self, process: int) -> None:
        """What it had taken stays taken."""
        limit = self.books[process].limits[0]
        self.dead += self.books[process].leases[0].free
        self.books[process] = Book([limit], [Lease(limit, NOON)])

    @invariant()
    def never_over(self) -> None:
        assert self.spent <= LIMIT + self.beyond
        for book in self.books:
            lease = book.leases[0]
            assert lease.free >= 0
            assert lease.held >= 0
            assert lease.owed >= 0
            assert 0 <= lease.remaining(0.0) <= LIMIT


_Shared.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestShared = _Shared.TestCase


@given(
    st.lists(st.tuples(st.integers(1, 200), st.floats(0, 1)), max_size=40),
    st.integers(1, 1000),
    st.integers(1, 20),
)
def test_all_or_none_of_several_limits(asked: list[tuple[int, float]], tokens: int, slots: int) -> None:
    limits = limits_of("key:a", KeyLimits(tokens_per_minute=tokens, concurrent=slots, requests_per_minute=30))
    book = Book(limits, [Lease(limit, NOON) for limit in limits])
    for lease in book.leases:
        lease.granted(lease.limit.most, 0.0, 0.0)
    running: list[tuple[Held, int]] = []
    for estimate, share in asked:
        before = [lease.free for lease in book.leases]
        held = book.reserve(estimate, 0.0)
        if held is None:
            assert [lease.free for lease in book.leases] == before
            assert book.short(estimate, 0.0)
        else:
            running.append((held, int(estimate * share)))
    real = sum(one for _, one in running)
    for held, one in running:
        held.settle(one, 1, 0.0)
    left = {lease.limit.kind: lease.free for lease in book.leases}
    assert left == {
        "requests_per_minute": 30 - len(running),
        "tokens_per_minute": tokens - real,
        "concurrent": slots,
    }
    assert all(lease.held == 0 for lease in book.leases)


def test_nothing_asked_nothing_charged() -> None:
    """A request that no engine was asked for: everything comes back, its place in the minute too."""
    limits = limits_of("key:a", KeyLimits(requests_per_minute=1, tokens_per_day=100))
    book = Book(limits, [Lease(limit, NOON) for limit in limits])
    for lease in book.leases:
        lease.granted(lease.limit.most, 0.0, 0.0)
    held = book.reserve(100, 0.0)
    assert held is not None
    assert book.reserve(0, 0.0) is None
    held.settle(0, 0, 0.0)
    assert [lease.free for lease in book.leases] == [1, 100]


@pytest.mark.parametrize(
    ("calendar", "at", "name", "ends"),
    [
        ("day", "2026-11-21T12:00:00", "2026-11-21", "2026-11-22T00:00:00"),
        ("day", "2026-12-31T23:59:59", "2026-12-31", "2027-01-01T00:00:00"),
        ("month", "2026-01-31T00:00:00", "2026-01", "2026-02-01T00:00:00"),
        ("month", "2028-02-29T23:59:59", "2028-02", "2028-03-01T00:00:00"),
        ("month", "2026-12-31T23:59:59", "2026-12", "2027-01-01T00:00:00"),
    ],
)
def test_days_and_months_are_utc(calendar: str, at: str, name: str, ends: str) -> None:
    limit = Limit("key:a", "k", Unit.TOKENS, 1, calendar)
    now = datetime.fromisoformat(at).replace(tzinfo=UTC).timestamp()
    assert limit.period(now) == name
    assert limit.ends(now) == datetime.fromisoformat(ends).replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, b"0ms"), (0.0121, b"13ms"), (1.0, b"1s"), (59.2, b"1m0s"), (360.0, b"6m0s"), (86399.5, b"24h0m0s")],
)
def test_durations_as_openai_writes_them(seconds: float, text: bytes) -> None:
    assert rate_head.duration(seconds) == text


def test_a_slot_that_was_lent_too_long_ago_is_none() -> None:
    limits = limits_of("key:a", KeyLimits(concurrent=2))
    book = Book(limits, [Lease(limit, NOON) for limit in limits])
    lease = book.leases[0]
    lease.granted(2, 0.0, 0.0)
    lease.until = 8.0
    assert book.reserve(0, 7.9) is not None
    assert book.reserve(0, 8.1) is None


def test_who_is_refused_comes_back_at_a_time_of_its_own() -> None:
    """Clients wait to the second as they are told: a crowd that was refused together shall not come back together."""
    limit = Limit("key:a", "tokens_per_minute", Unit.TOKENS, 6000)
    lease = Lease(limit, NOON)
    lease.granted(0, 0.0, 0.0)
    told = [rate_head.refused(lease, 6000, 0.0, NOON, number * 0.618 % 1.0).retry_after or 0 for number in range(100)]
    assert min(told) >= 60
    assert max(told) <= 60 + 7
    assert max(told.count(second) for second in told) <= 25
    day = Lease(Limit("tenant:t", "tokens_per_day", Unit.TOKENS, 10, "day"), NOON)
    late = [rate_head.refused(day, 1, 0.0, NOON, turn).retry_after for turn in (0.0, 0.999)]
    assert late == [12 * 3600, 12 * 3600 + 60]
