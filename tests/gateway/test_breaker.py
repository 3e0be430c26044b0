"""The breaker's states; time is an argument."""

from __future__ import annotations

import random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, precondition, rule

from penstock.gateway.breaker import (
    FIRST_PAUSE,
    FIRST_REST,
    LONGEST_HOLD,
    LONGEST_PAUSE,
    LONGEST_REST,
    PROBATION,
    RELAPSE,
    SPAN,
    TRIP,
    VOLUME,
    Breaker,
    State,
)


def tripped(now: float = 100.0) -> Breaker:
    one = Breaker()
    for _ in range(TRIP):
        one.failed(now)
    return one


def calm(one: Breaker) -> bool:
    return one.calm


def closed_again(one: Breaker) -> float:
    """By a trial as soon as one may go; when that was."""
    now = one.until
    trial = one.begin(now)
    assert one.succeeded(now, trial)
    one.released(trial)
    return now


def test_a_row_of_failures_opens_it() -> None:
    one = Breaker()
    for _ in range(TRIP - 1):
        assert not one.failed(1.0)
        assert one.state(1.0) is State.CLOSED
        assert one.admits(1.0)
        assert not calm(one)
    assert one.failed(1.0)
    assert one.state(1.0) is State.OPEN
    assert not one.admits(1.0)
    assert one.until == 1.0 + FIRST_REST
    assert one.remaining(1.0) == FIRST_REST


def test_failures_between_answers_do_not_open_it_while_they_are_few() -> None:
    one = Breaker()
    for _ in range(20):
        one.failed(1.0)
        for _ in range(3):
            one.succeeded(1.0)
    assert one.state(1.0) is State.CLOSED
    assert one.until == float("inf")
    assert not calm(one)


def test_failures_between_answers_open_it_when_they_are_half_of_all() -> None:
    """A flapping engine never fails five times in a row."""
    one = Breaker()
    for _ in range(VOLUME // 2 - 1):
        one.succeeded(1.0)
        assert not one.failed(1.0)
    one.succeeded(1.0)
    assert one.failed(1.0)
    assert one.state(1.0) is State.OPEN


def test_old_failures_are_forgotten() -> None:
    one = Breaker()
    for _ in range(TRIP - 1):
        one.failed(1.0)
    assert one.blame(1.0) == TRIP - 1
    one.succeeded(1.0 + SPAN)
    assert not calm(one)
    assert one.blame(1.0 + SPAN) == TRIP - 1
    one.succeeded(1.0 + 3 * SPAN)
    assert calm(one)
    assert one.blame(1.0 + 3 * SPAN) == 0


def test_after_its_rest_one_trial_goes() -> None:
    one = tripped(100.0)
    now = 100.0 + FIRST_REST
    assert one.state(now) is State.HALF_OPEN
    assert one.admits(now)
    trial = one.begin(now)
    assert not one.admits(now)
    one.succeeded(now, trial)
    assert one.admits(now)
    assert one.state(now) is State.CLOSED


def test_an_answer_from_before_does_not_close_it() -> None:
    """A request that was under way when it opened may end well; that says nothing of now."""
    one = tripped(100.0)
    assert not one.succeeded(100.5)
    assert one.state(100.5) is State.OPEN
    trial = one.begin(102.0)
    assert not one.succeeded(102.0)
    assert not one.admits(102.0)
    assert one.succeeded(102.0, trial)
    assert one.admits(102.0)


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
    one.succeeded(102.0, first)
    for _ in range(TRIP):
        one.failed(103.0)
    second = one.begin(110.0)
    one.released(first)
    assert not one.succeeded(110.0, first)
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


def test_on_probation_it_opens_sooner_and_rests_longer() -> None:
    one = tripped(100.0)
    now = closed_again(one)
    for _ in range(RELAPSE - 1):
        assert not one.failed(now)
    assert one.failed(now)
    assert one.until - now == 2 * FIRST_REST


def test_after_probation_it_is_as_new() -> None:
    one = tripped(100.0)
    now = closed_again(one) + PROBATION
    assert not calm(one)
    one.succeeded(now)
    assert calm(one)
    for _ in range(TRIP):
        one.failed(now)
    assert one.until == now + FIRST_REST


def test_requests_that_fail_together_count_as_one_outage() -> None:
    """A hundred requests under way when an engine dies must not rest it for half a minute."""
    one = Breaker()
    for _ in range(100):
        one.failed(100.0)
    assert one.until == 100.0 + FIRST_REST


def test_a_backend_that_names_a_time_is_left_alone_until_then() -> None:
    one = Breaker()
    assert one.told_to_wait(100.0, 7.0)
    assert one.limited
    assert not one.admits(106.9)
    assert one.remaining(104.0) == 3.0
    assert not one.told_to_wait(101.0, 2.0), "a shorter time does not shorten it"
    assert one.told_to_wait(101.0, 9.0)
    assert one.state(110.0) is State.HALF_OPEN
    trial = one.begin(110.0)
    assert one.succeeded(110.0, trial)
    assert one.state(110.0) is State.CLOSED


def test_no_time_is_believed_beyond_a_limit() -> None:
    one = Breaker()
    one.told_to_wait(100.0, 3600.0)
    assert one.remaining(100.0) == LONGEST_HOLD


def test_who_refuses_or_fails_one_request_in_ten_serves_the_others() -> None:
    """For as long as it likes: what it was left alone for once does not add up."""
    dice, one, now = random.Random(1), Breaker(), 100.0
    asked = answered = 0
    for _ in range(20_000):
        now += 0.02
        asked += 1
        if not one.admits(now):
            continue
        trial, fate = one.begin(now), dice.random()
        if fate < 0.005:
            one.told_to_wait(now, None)
        elif fate < 0.1:
            one.failed(now)
        else:
            answered += 1
            one.succeeded(now, trial)
        one.released(trial)
    assert answered > 0.7 * asked


def test_refusals_without_a_time_pause_it_for_growing_moments() -> None:
    one = Breaker()
    now, pauses = 100.0, []
    for _ in range(8):
        for _ in range(20):  # all that were under way are refused at once
            one.told_to_wait(now, None)
        pauses.append(one.remaining(now))
        now = one.until
        trial = one.begin(now)
        one.released(trial)
    assert pauses[:3] == [FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE]
    assert pauses[-1] == LONGEST_PAUSE


class Life(RuleBasedStateMachine):
    """Any order of events: one trial at most, and never out of reach for longer than the longest hold."""

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

    @rule(seconds=st.none() | st.floats(0.0, 4000.0))
    def sheds(self, seconds: float | None) -> None:
        self.one.told_to_wait(self.now, seconds)

    @rule()
    def succeeds_from_before(self) -> None:
        was = self.one.state(self.now)
        assert not self.one.succeeded(self.now)
        assert self.one.state(self.now) is was

    @rule(number=consumes(out))
    def succeeds(self, number: int) -> None:
        closed = self.one.succeeded(self.now, number)
        assert not closed or number == self.trial
        self.one.released(number)
        if number == self.trial:
            self.trial = 0

    @rule(number=consumes(out))
    def ends(self, number: int) -> None:
        self.one.released(number)
        if number == self.trial:
            self.trial = 0

    @invariant()
    def holds(self) -> None:
        if self.trial and self.one.state(self.now) is not State.CLOSED:
            assert not self.one.admits(self.now)
        assert self.one.remaining(self.now) <= LONGEST_HOLD + 1e-6
        if self.one.calm:
            assert self.one.state(self.now) is State.CLOSED
            assert self.one.blame(self.now) == 0
        later = self.now + LONGEST_HOLD + 1e-6
        assert self.trial or self.one.admits(later)


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=60, stateful_step_count=30)
