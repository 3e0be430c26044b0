"""Names replaced by what is known."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.rules.finding import evidence
from penstock.rules.material import Setting
from penstock.rules.reading.variables import LONGEST, expand, latest


def setting(name: str, value: str, line: int = 1) -> Setting:
    return Setting(name=name, value=value, at=evidence("f", line, f"{name}={value}"))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("$A", "1"),
        ("${A}x$B", "1x2"),
        ("${C:-d}", "d"),
        ("${C:-$A}", "1"),
        ("${C-d}${A-d}", "d1"),
        ("${E:-empty}", "empty"),
        ("${E-empty}", ""),
        ("$C", "$C"),
        ("${C:?needed}", "${C:?needed}"),
        ("$F", "1"),
        ("100$", "100$"),
    ],
)
def test_as_a_shell_would(text: str, value: str) -> None:
    known = latest([setting("A", "1"), setting("B", "2"), setting("E", ""), setting("F", "$A")])
    assert expand(text, known).text == value


def test_where_a_value_came_from() -> None:
    known = latest([setting("PORT", "${VLLM_PORT:-8000}", 6)], [setting("VLLM_PORT", "9000", 14)])
    found = expand("$PORT", known)
    assert (found.text, [source.line for source in found.sources]) == ("9000", [6, 14])
    assert found.known


def test_a_name_that_takes_itself_takes_the_one_before() -> None:
    own = setting("A", "${A:-x}")
    assert expand("$A", latest([own])).text == "x"
    assert expand("$A", latest([setting("A", "outer")], [own])).text == "outer"
    assert not expand("$A", latest([setting("A", "$A")])).known


def test_a_circle_ends() -> None:
    known = latest([setting("A", "$B$B"), setting("B", "$A$A")])
    assert len(expand("$A" * 100, known).text) < LONGEST * 10


@given(st.text(max_size=200), st.dictionaries(st.sampled_from("ABC"), st.text(max_size=30)))
def test_any_text_ends(text: str, values: dict[str, str]) -> None:
    expand(text, latest([setting(name, value) for name, value in values.items()]))
