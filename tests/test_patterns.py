"""Patterns: what may be written, and that what is decided of a text stays decided."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.patterns import Pattern


@pytest.mark.parametrize(
    ("text", "longest"),
    [
        ("abc", 3), ("a|bcd", 3), (r"\bsk-[A-Za-z0-9_-]{20}", 23), ("(?i)secret", 6), ("(ab){2,3}c?", 7),
        (r"[a\]-]{1,4}x", 5), (r"\d{3}-\d{2}", 6), ("(?:é|ü){1,2}", 2), (r"a.b", 3), ("[^ ]{2}", 2),
    ],
)  # fmt: skip
def test_the_longest_match_is_known(text: str, longest: int) -> None:
    assert Pattern(text).longest == longest


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "1 to"), ("a+", "longest"), ("a*", "longest"), ("a{3,}", "numbers"), ("^a", "begins"), ("a$", "begins"), ("(a", "missing"),
        ("a)", "too many"), ("[a", "lacks"), (r"\pL", "not known"), ("(?=a)b", "groups"), ("a?", "nothing at all"), ("(a{0,1000}){2}b", "allowed"),
        ("+a", "before"), ("a{9999}", "allowed"), (r"(a)\1", "not known"), ("(" * 40 + "a" + ")" * 40, "deeply"), ("[z-a]", "range"), (r"\z", "not known"),
    ],
)  # fmt: skip
def test_a_pattern_that_cannot_be_used_says_why(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Pattern(text)


def test_no_text_makes_a_pattern_slow() -> None:
    """What hangs a backtracking engine for years is done with as quickly as it is read."""
    evil = Pattern("(a{0,20}){0,20}b")
    assert evil.search("a" * 200_000, 0) is None


PATTERNS = (r"\bab{1,3}\b", "a[bc]{0,4}d", "(?i)AB.", "[^a]{2}b", r"a\-[a-]{1,2}", "é{1,3}")


@given(st.sampled_from(PATTERNS), st.text("abcd- é", max_size=24), st.text("abcd- é", max_size=12))
def test_what_is_decided_stays(text: str, first: str, second: str) -> None:
    pattern = Pattern(text)
    until = pattern.decided(first, 0)
    early = pattern.search(first, 0)
    late = pattern.search(first + second, 0)
    if early is not None and early[0] < until:
        assert late == early
    elif late is not None:
        assert late[0] >= until
