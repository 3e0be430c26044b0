"""How sure we are: known values of both formulas, and what must hold for all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.agreement.likely import sign_test, wilson


@pytest.mark.parametrize(
    ("count", "of", "low", "high"),
    [
        # Newcombe 1998, table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (0, 200, 0.0, 0.0188),
    ],
)
def test_the_interval_is_wilsons(count: int, of: int, low: float, high: float) -> None:
    found = wilson(count, of)
    assert found == pytest.approx((low, high), abs=6e-5)


@given(st.integers(0, 500), st.integers(0, 500))
def test_the_interval_holds_the_share(count: int, rest: int) -> None:
    of = count + rest
    low, high = wilson(count, of)
    assert 0 <= low <= high <= 1
    if of:
        assert low <= count / of <= high
        assert (low == 0) == (count == 0)
        assert (high == 1) == (rest == 0)


@given(st.integers(1, 200), st.integers(0, 200))
def test_more_pairs_make_surer(count: int, rest: int) -> None:
    narrow, wide = wilson(4 * count, 4 * (count + rest)), wilson(count, count + rest)
    assert narrow[1] - narrow[0] < wide[1] - wide[0]


@pytest.mark.parametrize(
    ("one", "other", "chance"),
    [(0, 0, 1.0), (3, 3, 1.0), (0, 1, 1.0), (0, 5, 0.0625), (6, 0, 0.03125), (1, 9, 0.021484375), (2, 8, 0.109375)],
)
def test_chance_of_the_sign_test(one: int, other: int, chance: float) -> None:
    assert sign_test(one, other) == pytest.approx(chance, rel=1e-12)


def test_the_sign_test_of_very_many() -> None:
    assert sign_test(0, 5000) == 0.0
    assert sign_test(2400, 2600) == pytest.approx(0.0049, abs=2e-4)


@given(st.integers(0, 60), st.integers(0, 60))
def test_the_sign_test_is_fair(one: int, other: int) -> None:
    assert sign_test(one, other) == sign_test(other, one)
    assert 0 < sign_test(one, other) <= 1
    assert sign_test(one + other + 1, other) <= sign_test(one + other, other)
