"""How many new requests are refused while the loop is late."""

from __future__ import annotations

from penstock.gateway.pressure import FORGIVES, LATE, LESS, MORE, MOST, ROUNDS, Pressure


def test_a_hiccup_refuses_nobody() -> None:
    pressure = Pressure()
    for _ in range(20):
        for _ in range(ROUNDS - 1):
            pressure.felt(LATE * 5)
        for _ in range(FORGIVES * ROUNDS):
            pressure.felt(0.0)
    assert pressure.share == 0
    assert not any(pressure.sheds() for _ in range(100))


def test_who_is_let_run_for_a_round_now_and_then_is_late_all_the_same() -> None:
    """A container that is throttled gets a slice, and then nothing for a second."""
    pressure = Pressure()
    for _ in range(10):
        pressure.felt(LATE)
        pressure.felt(0.0)
    assert pressure.share > 50


def test_the_share_grows_with_every_late_round_and_never_takes_all() -> None:
    pressure = Pressure()
    for _ in range(ROUNDS):
        pressure.felt(LATE)
    assert pressure.share == MORE
    assert sum(pressure.sheds() for _ in range(100)) == MORE
    for _ in range(20):
        pressure.felt(LATE)
    assert pressure.share == MOST
    assert sum(pressure.sheds() for _ in range(100)) == MOST


def test_rounds_in_time_let_all_in_again() -> None:
    pressure = Pressure()
    for _ in range(20):
        pressure.felt(LATE)
    for _ in range(MOST // LESS):
        pressure.felt(0.0)
    assert pressure.share == 0
    assert not any(pressure.sheds() for _ in range(100))
