"""How many new requests are refused while the loop is late."""

from __future__ import annotations

from penstock.gateway.pressure import LATE, LESS, MORE, MOST, ROUNDS, Pressure


def test_a_hiccup_refuses_nobody() -> None:
    pressure = Pressure()
    for _ in range(20):
        for _ in range(ROUNDS - 1):
            pressure.felt(LATE * 5)
        pressure.felt(0.0)
    assert pressure.share == 0
    assert not any(pressure.sheds() for _ in range(100))


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
