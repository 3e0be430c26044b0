"""Values, not letters."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.agreement.answer import ToolCall
from penstock.agreement.values import same_calls, same_json

JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


def shuffled(value: Any, order: random.Random) -> Any:  # noqa: ANN401
    if isinstance(value, dict):
        names = list(value)
        order.shuffle(names)
        return {name: shuffled(value[name], order) for name in names}
    return [shuffled(one, order) for one in value] if isinstance(value, list) else value


@given(JSON, st.randoms(use_true_random=False))
def test_order_and_white_space_mean_nothing(value: Any, order: random.Random) -> None:  # noqa: ANN401
    assert same_json(json.dumps(value), json.dumps(shuffled(value, order), indent=3))


@given(JSON, JSON)
def test_different_values_differ(first: Any, second: Any) -> None:  # noqa: ANN401
    canonical = [json.dumps(one, sort_keys=True) for one in (first, second)]
    assert same_json(json.dumps(first), json.dumps(second)) == (canonical[0] == canonical[1])


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("1", "1.0", True),
        ("1e2", "100", True),
        ("true", "1", False),
        ("false", "0", False),
        ("null", "0", False),
        ("null", "null", True),
        ("[1,2]", "[2,1]", False),
        ('{"a":1}', '{"a":1,"b":null}', False),
        ('"é"', '"\\u00e9"', True),
        ("", "", False),
        ("{", "{", False),
        ("```json\n{}\n```", "{}", False),
        ("[" * 5000 + "]" * 5000, "[]", False),
    ],
)
def test_what_is_the_same(first: str, second: str, *, same: bool) -> None:
    assert same_json(first, second) is same


def test_deep_values_are_compared_whole() -> None:
    deep = "[" * 400 + "{}" + "]" * 400
    assert same_json(deep, deep)
    assert not same_json(deep, deep.replace("{}", "{ } ,1"))


def call(name: str, arguments: str = "{}") -> ToolCall:
    return ToolCall(name, arguments)


def test_calls_side_by_side_have_no_order() -> None:
    one, other = call("time", '{"city": "Bern", "utc": false}'), call("weather", '{"city":"Bern"}')
    assert same_calls([one, other], [other, call("time", '{"utc":false,"city":"Bern"}')])
    assert not same_calls([one, one], [one, other])
    assert not same_calls([one], [one, one])
    assert not same_calls([one], [call("weather", one.arguments)])
    assert not same_calls([one], [call("time", '{"city": "Basel", "utc": false}')])
    assert same_calls([], [])
    assert same_calls([call("now", "")], [call("now", "{}")])
    assert same_calls([call("now", "not json")], [call("now", "not json")])
