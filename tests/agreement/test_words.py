"""Word by word: against the slow textbook forms of the same figures."""

from __future__ import annotations

import difflib
from functools import cache

from hypothesis import given
from hypothesis import strategies as st

from penstock.agreement.words import LONGEST, READ, first_difference, shared, words

FEW = st.lists(st.sampled_from(["a", "b", "c", "d"]), max_size=12)


def test_words_and_marks() -> None:
    assert words("It's 3.5 °C,\n\tnot  30!") == ["It", "'", "s", "3", ".", "5", "°", "C", ",", "not", "30", "!"]
    assert words("¿Qué? 東京") == ["¿", "Qué", "?", "東京"]
    assert words(" \n ") == []
    assert words("a" * READ + "b") == ["a" * READ]


@given(FEW, FEW)
def test_the_first_difference_is_where_the_texts_part(first: list[str], second: list[str]) -> None:
    place = first_difference(first, second)
    if place is None:
        assert first == second
    else:
        assert first[:place] == second[:place]
        assert first[place : place + 1] != second[place : place + 1]


def in_order(first: list[str], second: list[str]) -> int:
    """The table, cell by cell."""

    @cache
    def cell(row: int, column: int) -> int:
        if not row or not column:
            return 0
        if first[row - 1] == second[column - 1]:
            return cell(row - 1, column - 1) + 1
        return max(cell(row - 1, column), cell(row, column - 1))

    return cell(len(first), len(second))


@given(FEW, FEW)
def test_words_in_common_are_the_longest_common_subsequence(first: list[str], second: list[str]) -> None:
    total = len(first) + len(second)
    assert shared(first, second) == (2 * in_order(first, second) / total if total else 1.0)


@given(FEW, FEW)
def test_common_words_have_bounds(first: list[str], second: list[str]) -> None:
    found = shared(first, second)
    assert found == shared(second, first)
    assert difflib.SequenceMatcher(None, first, second, autojunk=False).ratio() <= found <= 1
    assert (found == 1) == (first == second)


def test_a_long_text_is_compared_as_far_as_it_is_looked_at() -> None:
    same = ["a"] * LONGEST
    assert shared([*same, "b"], [*same, "c"]) == 1
    assert shared(same, ["b"] * 3 * LONGEST) == 0
