"""The schema of an answer: what it checks is what jsonschema checks, and what it does not know is refused when it is read."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import Withheld
from penstock.guardrails.schema import LARGEST, Held, Schema
from penstock.guardrails.text import Verdicts

PERSON: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 5, "pattern": "^[a-z]{1,5}$"[1:-1]},
        "age": {"type": "integer", "minimum": 0, "exclusiveMaximum": 9},
        "tags": {"type": "array", "items": {"enum": ["a", "b", 1]}, "minItems": 1, "maxItems": 2},
        "of": {"$ref": "#/$defs/other"},
        "one": {"oneOf": [{"type": "number"}, {"const": 1}, {"type": ["null", "boolean"]}]},
        "any": {"anyOf": [{"type": "string"}, {"type": "integer", "maximum": 1}]},
        "all": {"allOf": [{"type": "integer"}, {"minimum": 1}], "not": {"const": 2}},
    },
    "required": ["name"],
    "additionalProperties": False,
    "maxProperties": 3,
    "$defs": {"other": {"type": "object", "additionalProperties": {"type": "boolean"}, "minProperties": 1}},
}
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-2, 10), st.sampled_from([1.0, 1.5]), st.sampled_from(["", "a", "abcdef", "B"])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from([*PERSON["properties"], "x"]), inner, max_size=4),
    ),
    max_leaves=6,
)  # fmt: skip


@given(st.one_of(VALUES, VALUES.map(lambda value: {"name": "a", "of": value}), st.tuples(st.sampled_from(list(PERSON["properties"])), VALUES).map(lambda pair: {"name": "a", pair[0]: pair[1]})))  # fmt: skip
def test_it_says_what_jsonschema_says(value: object) -> None:
    schema = Schema(json.dumps(PERSON).encode())
    fits = jsonschema.Draft202012Validator(PERSON).is_valid(value)
    assert (not schema.problem(json.dumps(value))) == fits


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ("{", "no JSON"),
        ('{"patternProperties": {}}', "'patternProperties', which is not checked"),
        ('{"properties": {"a": {"unevaluatedProperties": false}}}', "#/properties/a uses"),
        ('{"type": "text"}', "cannot have"),
        ('{"required": [1]}', "cannot have"),
        ('{"$ref": "https://elsewhere.example/schema"}', "cannot have"),
        ('{"$ref": "#/$defs/none"}', "cannot have"),
        ('{"pattern": "(a+)+b"}', "longest"),
        ('{"items": 3}', "no schema"),
        ('{"anyOf": []}', "list of schemas"),
        ('{"properties": []}', "no object"),
    ],
)
def test_what_cannot_be_checked_is_refused_at_once(schema: str, why: str) -> None:
    with pytest.raises(ValueError, match=why.replace("$", r"\$")):
        Schema(schema.encode())


def test_a_problem_names_members_and_tells_no_value() -> None:
    schema = Schema(json.dumps(PERSON).encode())
    assert schema.problem('{"name": "SECRET"}') == ".name goes against maxLength"
    assert schema.problem('{"name": "a", "SECRET": 1}') == "a member of it that is not named is not allowed"
    assert schema.problem("not json SECRET") == "it is no JSON"
    assert schema.problem("[" * 10_000) == "it is no JSON"


def test_no_answer_takes_for_ever() -> None:
    """Each level looks at everything below it twice: without a bound, for longer than anybody waits."""
    deep = Schema(b'{"anyOf": [{"items": {"$ref": "#"}, "minItems": 1}, {"items": {"$ref": "#"}, "maxItems": 0}]}')
    assert deep.problem("[" * 40 + "]" * 40) in {"checking it takes too long", "it goes against anyOf", ""}


def test_a_text_is_held_until_it_is_whole() -> None:
    verdicts = Verdicts()
    step = Held(Schema(b'{"type": "integer"}'), verdicts)
    assert step.feed("4") == step.feed("2") == ""
    assert step.end() == "42"
    assert verdicts.all() == (("answer_schema", "fits"),)
    step.feed('"no"')
    with pytest.raises(Withheld, match="not of type integer"):
        step.end()
    with pytest.raises(Withheld, match="characters"):
        step.feed("1" * (LARGEST + 1))
