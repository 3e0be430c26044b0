"""The breaker's states; time is an argument."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, precondition, rule

from penstock.gateway.breaker import FIRST_REST, LONGEST_REST, TRIP, Breaker, State


def tripped(now: float = 100.0) -> Breaker:
    one = Breaker()
    for _ in range(TRIP):
        one.failed(now)
    return one


def test_a_row_of_failures_opens_it() -> None:
    one = Breaker()
    for _ in range(TRIP - 1):
        one.failed(1.0)
        assert one.state(1.0) is State.CLOSED
        assert one.admits(1.0)
        assert not one.calm
    one.failed(1.0)
    assert one.state(1.0) is State.OPEN
    assert not one.admits(1.0)
    assert one.until == 1.0 + FIRST_REST


def test_a_success_ends_the_row() -> None:
    one = Breaker()
    for _ in range(3 * TRIP):
        for _ in range(TRIP - 1):
            one.failed(1.0)
        one.succeeded()
        assert one.calm
        assert one.state(1.0) is State.CLOSED
    assert one.until == float("inf")


def test_after_its_rest_one_trial_goes() -> None:
    one = tripped(100.0)
    now = 100.0 + FIRST_REST
    assert one.state(now) is State.HALF_OPEN
    assert one.admits(now)
    one.begin(now)
    assert not one.admits(now)
    one.succeeded()
    assert one.admits(now)
    assert one.state(now) is State.CLOSED


def test_a_trial_whose_client_left_says_nothing() -> None:
    one = tripped(100.0)
    one.released(one.begin(102.0))
    assert one.state(102.0) is State.HALF_OPEN
    assert one.admits(102.0)


def test_requests_from_before_do_not_end_the_trial() -> None:
    """They were under way when it opened; what becomes of them lets no second trial out."""
    one = Breaker()
    before = one.begin(100.0)
    for _ in range(TRIP):
        one.failed(100.0)
    trial = one.begin(102.0)
    one.released(before)
    assert not one.admits(102.0)
    one.failed(102.0)
    assert not one.admits(one.until)
    one.released(trial)
    assert one.admits(one.until)


def test_a_trial_from_before_does_not_end_a_later_one() -> None:
    one = tripped(100.0)
    first = one.begin(102.0)
    one.succeeded()
    for _ in range(TRIP):
        one.failed(103.0)
    second = one.begin(110.0)
    one.released(first)
    assert not one.admits(110.0)
    one.released(second)
    assert one.admits(110.0)


def test_each_failed_trial_doubles_the_rest_up_to_a_limit() -> None:
    one = tripped(100.0)
    rests = [one.until - 100.0]
    for _ in range(8):
        now = one.until
        trial = one.begin(now)
        one.failed(now)
        one.released(trial)
        assert one.state(now) is State.OPEN
        rests.append(one.until - now)
    assert rests[:4] == [FIRST_REST, 2 * FIRST_REST, 4 * FIRST_REST, 8 * FIRST_REST]
    assert rests[-1] == LONGEST_REST
    one.succeeded()
    for _ in range(TRIP):
        one.failed(500.0)
    assert one.until == 500.0 + FIRST_REST


def test_requests_that_fail_together_count_as_one_outage() -> None:
    """A hundred requests under way when an engine dies must not rest it for half a minute."""
    one = Breaker()
    for _ in range(100):
        one.failed(100.0)
    assert one.until == 100.0 + FIRST_REST


class Life(RuleBasedStateMachine):
    """Any order of events: one trial at most, and never out of reach for longer than the longest rest."""

    out = Bundle("out")

    def __init__(self) -> None:
        super().__init__()
        self.one = Breaker()
        self.now = 0.0
        self.trial = 0

    @rule(seconds=st.floats(0.0, 40.0))
    def passes(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.one.admits(self.now))
    @rule(target=out)
    def begins(self) -> int:
        number = self.one.begin(self.now)
        assert bool(number) is (self.one.state(self.now) is State.HALF_OPEN)
        self.trial = number or self.trial
        return number

    @rule()
    def fails(self) -> None:
        self.one.failed(self.now)

    @rule()
    def succeeds(self) -> None:
        self.one.succeeded()
        self.trial = 0

    @rule(number=consumes(out))
    def ends(self, number: int) -> None:
        self.one.released(number)
        self.trial = 0 if number == self.trial else self.trial

    @invariant()
    def holds(self) -> None:
        state = self.one.state(self.now)
        assert self.one.admits(self.now) is (state is State.CLOSED or (state is State.HALF_OPEN and not self.trial))
        if state is State.OPEN:
            assert self.now < self.one.until <= self.now + LONGEST_REST
        assert self.one.state(self.now + LONGEST_REST) is not State.OPEN


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=40, stateful_step_count=25)
