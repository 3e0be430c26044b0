"""What is remembered of a canary: minutes, never fewer than a few, never more than a bound."""

from __future__ import annotations

from penstock.gateway.canary import Outcome, Sample
from penstock.gateway.window import MOST, OLD_KEEPS, Window
from penstock.state.switch import Rules

RULES = Rules(min_requests=10, window=60.0)


def at(moment: float, outcome: Outcome = Outcome.GOOD) -> Sample:
    return Sample(moment, outcome, 1.0)


def test_old_answers_are_forgotten_but_for_the_last_few() -> None:
    window = Window(RULES)
    window.add([at(second) for second in range(100)], [at(second) for second in range(100)])
    new, old = window.figures(100.0)
    assert (new.requests, old.requests) == (60, 60)
    new, old = window.figures(10_000.0)
    assert (new.requests, old.requests) == (10, 10 * OLD_KEEPS)


def test_failures_of_long_ago_are_forgiven() -> None:
    window = Window(RULES)
    window.add([at(0.0, Outcome.FAILED)] * 20, [at(0.0)] * 50)
    assert window.verdict(1.0)
    window.add([at(70.0)] * 20, [])
    assert window.verdict(70.0) == ""


def test_it_is_bounded() -> None:
    window = Window(RULES)
    window.add([at(0.0)] * (MOST + 10), [at(0.0)] * (MOST + 10))
    assert (len(window.canary), len(window.old)) == (MOST, MOST)
