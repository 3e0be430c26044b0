"""Edits of single members: the meaning of a dict edit, and no other byte changed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.errors import BadRequest
from penstock.protocols import splice

NEW = b'"engine-model"'
NAMES = ("model", "stream_options")
KEYS = st.sampled_from(["model", "mod", "stream_options", 'a"b', "back\\slash", "{", "}", "é", ""]) | st.text(
    max_size=6
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text('ab"\\{}[]:,é\n', max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)
SPACE = st.sampled_from(["", " ", "\n  ", "\t\r\n"])


def spelled(draw: st.DrawFn, key: str) -> str:
    """A key as JSON, sometimes with every character escaped."""
    if draw(st.booleans()) or any(ord(one) > 0xFFFF for one in key):
        return json.dumps(key)
    return '"' + "".join(f"\\u{ord(one):04x}" for one in key) + '"'


@st.composite
def objects(draw: st.DrawFn) -> tuple[bytes, dict[str, Any]]:
    """An object with odd spaces and spellings, and what it means."""
    members: dict[str, Any] = draw(st.dictionaries(KEYS, VALUES, max_size=5))
    parts = []
    for key, value in members.items():
        text = json.dumps(value, ensure_ascii=draw(st.booleans()), indent=draw(st.sampled_from([None, 1])))
        parts.append(f"{draw(SPACE)}{spelled(draw, key)}{draw(SPACE)}:{draw(SPACE)}{text}{draw(SPACE)}")
    body = f"{draw(SPACE)}{{{','.join(parts) or draw(SPACE)}}}{draw(SPACE)}"
    return body.encode("utf-8", "surrogatepass"), members


@given(objects(), st.sets(st.sampled_from(NAMES), min_size=1))
@settings(max_examples=80)
def test_replacing_is_a_dict_edit(given_object: tuple[bytes, dict[str, Any]], names: set[str]) -> None:
    body, members = given_object
    edited = splice.replace(body, dict.fromkeys(sorted(names), NEW))
    assert json.loads(edited) == members | dict.fromkeys(names, "engine-model")


@given(objects())
@settings(max_examples=80)
def test_no_other_byte_is_touched(given_object: tuple[bytes, dict[str, Any]]) -> None:
    body, members = given_object
    found = splice.spans(body)
    assert found.keys() == members.keys()
    for name, span in found.items():
        assert json.loads(body[span.value : span.end]) == members[name]
        assert splice.replace(body, {name: NEW}) == body[: span.value] + NEW + body[span.end :]


@given(objects(), VALUES)
@settings(max_examples=60)
def test_a_present_string_is_replaced_wherever_its_name_occurs(
    given_object: tuple[bytes, dict[str, Any]], other: object
) -> None:
    _, members = given_object
    members |= {"metadata": {"model": other}, "model": "alias"}
    body = json.dumps(members).encode()
    assert json.loads(splice.replace_present(body, "model", NEW)) == members | {"model": "engine-model"}


@pytest.mark.parametrize(
    "body",
    [
        b'{"metadata":{"model":"x"},"model":"alias"}',
        b'{"note":"\\"model\\": \\"x\\"","model":"alias"}',
        b'{"note":"model","model" :\n "alias"}',
        b'{"metadata":{"model":"x"},"mod\\u0065l":"alias"}',
        b'{"model":"a\\"li\\\\as"}',
    ],
)
def test_the_model_that_is_meant(body: bytes) -> None:
    assert json.loads(splice.replace_present(body, "model", NEW)) == json.loads(body) | {"model": "engine-model"}


@given(objects())
@settings(max_examples=40)
def test_insert_adds_one_member(given_object: tuple[bytes, dict[str, Any]]) -> None:
    body, members = given_object
    if members and "penstock" not in members:
        assert json.loads(splice.insert(body, b'"penstock":true')) == members | {"penstock": True}


@pytest.mark.parametrize("body", [b'{"a":1,"a":2}', b'{"a":1,"\\u0061":2}', b'{"a":{},"b":0, "a" : []}'])
def test_a_key_that_stands_twice_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequest, match="'a' appears twice") as error:
        splice.spans(body)
    assert error.value.param == "a"


def test_a_key_may_stand_again_further_in() -> None:
    assert list(splice.spans(b'{"a":{"a":1,"b":{"a":2}},"b":[{"a":3},{"a":4}]}')) == ["a", "b"]


@pytest.mark.parametrize(
    ("body", "doubtful"),
    [
        (b'{"model":"x"}', False),
        (b'{"model":"x","note":"line\\nbreak"}', False),
        (b'{"model":"x","model":"y"}', True),
        (b'{"model":"x","mod\\u0065l":"y"}', True),
        (b'{"note":"\\u00e9","model":"x"}', True),
        (b"{}", False),
    ],
)
def test_only_doubtful_bodies_are_scanned(body: bytes, doubtful: bool) -> None:  # noqa: FBT001 - a table of cases
    assert splice.ambiguous(body, (b'"model"',)) is doubtful


@pytest.mark.parametrize("quotes", [0, 10, 500])
@pytest.mark.parametrize("size", [100, 100_000])
def test_a_second_name_is_found_however_long_the_body_is(size: int, quotes: int) -> None:
    text = (b"x" * size + b'\\"') * (quotes + 1)
    once = b'{"model":"m","prompt":"' + text + b'"}'
    assert not splice.ambiguous(once, (b'"model"',))
    assert splice.ambiguous(once[:-1] + b',"model":"n"}', (b'"model"',))


@given(objects())
@settings(max_examples=40)
def test_a_body_in_which_a_name_stands_twice_is_never_thought_clear(given_object: tuple[bytes, dict[str, Any]]) -> None:
    body, members = given_object
    twice = splice.replace(b"{}" if not members else body, {"model": b"1"})
    twice = splice.insert(twice, b'"mod\\u0065l":2')
    assert splice.ambiguous(twice, (b'"model"',))
    with pytest.raises(BadRequest):
        splice.spans(twice)


@pytest.mark.parametrize("body", [b"[]", b"null", b"", b'"{"'])
def test_only_objects_are_edited(body: bytes) -> None:
    with pytest.raises(BadRequest, match="object"):
        splice.replace(body, {"model": NEW})


def test_numbers_keep_their_spelling() -> None:
    body = b'{"temperature":1.0e-0, "seed":12345678901234567890123, "model":"alias", "x":-0.0}'
    assert splice.replace(body, {"model": NEW}) == body.replace(b'"alias"', NEW)
