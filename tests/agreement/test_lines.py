"""Files of answers and of golden facts: paired, and wrong lines named."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.agreement.answer import Answer, digest
from penstock.agreement.facts import facts_of, missing
from penstock.agreement.lines import Line, lines_of, pairs_of, written
from penstock.errors import ConfigError


def test_lines_are_paired_by_id_then_by_prompt() -> None:
    first = [Line(id="1", text="a"), Line(prompt="Why?", text="b"), Line(id="9", text="alone")]
    second = [Line(prompt=" Why? ", text="B"), Line(id="2", text="alone"), Line(id="1", prompt="Why?", text="A")]
    pairs, left = pairs_of(first, second)
    assert [(pair.first.text, pair.second.text) for pair in pairs] == [("a", "A"), ("b", "B")]
    assert left == 2


def test_a_prompt_asked_several_times_is_paired_in_order() -> None:
    first = [Line(prompt="p", text=text) for text in "abc"]
    second = [Line(prompt="p", text=text) for text in "ABCD"]
    pairs, left = pairs_of(first, second)
    assert [pair.second.text for pair in pairs] == ["A", "B", "C"]
    assert left == 1


def test_what_was_asked_decides_the_measure() -> None:
    first, second = Line(id="1", json=True, text='{"a":1}'), Line(id="1", text='{"a": 1.0}')
    assert pairs_of([first], [second])[0][0].verdict.outcome == "agreed"


@given(st.text(max_size=20), st.text(min_size=1, max_size=20), st.floats(0, 100), st.booleans())
def test_a_line_reads_back(text: str, prompt: str, seconds: float, greedy: bool) -> None:  # noqa: FBT001
    line = Line(id="1", text=text, prompt=prompt, seconds=seconds, greedy=greedy)
    assert lines_of([written(line), "", " \n"], "f") == [line]
    assert "\n" not in written(line)


def test_other_keys_are_let_be() -> None:
    assert lines_of(['{"id": "1", "endpoint": "http://a", "text": "t"}'], "f") == [Line(id="1", text="t")]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("{", "f:2: Input data was truncated"),
        ('{"id": 7}', "f:2: Expected `str`"),
        ("{}", "f:2: it has neither id nor"),
    ],
)
def test_a_wrong_line_is_named(line: str, told: str) -> None:
    with pytest.raises(ConfigError, match="Reading answers") as error:
        lines_of(['{"id": "1"}', line], "f")
    assert told in error.value.message


def test_golden_facts() -> None:
    """S3.26: golden facts."""
    lines = ['{"prompt": "When  did it land?", "facts": ["20 July", "1969"]}', "", '{"prompt": "Hello"}']
    facts = facts_of(lines, "golden.jsonl")
    assert facts == {digest("When did it land?"): ("20 July", "1969")}
    named = facts[digest("When did it land?\n")]
    assert missing(named, Answer(text="On 20\nJULY 1969.")) == ()
    assert missing(named, Answer(text="In 1968")) == ("20 July", "1969")


@pytest.mark.parametrize(
    ("line", "told"), [("[]", "g:1: Expected `object`"), ('{"prompt": "p", "facts": [" "]}', "g:1: a fact is empty")]
)
def test_a_wrong_fact_is_named(line: str, told: str) -> None:
    with pytest.raises(ConfigError) as error:
        facts_of([line], "g")
    assert told in error.value.message


def test_a_line_is_an_object_of_an_answers_fields() -> None:
    assert set(json.loads(written(Line(id="1", prompt="p", text="t", json=True)))) == {"id", "prompt", "text", "json"}
