"""How many tokens a request may come to: every spelling of a limit is found, and no body is too odd to be judged."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import Refusal
from penstock.gateway.estimate import ANSWER, BYTES_PER_TOKEN, MOST, Estimate, of
from penstock.protocols.dialect import Call
from penstock.protocols.table import ROUTES


def call(path: str = "/v1/chat/completions", **body: object) -> Call:
    return ROUTES[path.encode()].decode(json.dumps({"model": "m", **body}).encode(), "application/json")


@pytest.mark.parametrize(
    ("path", "body", "answer"),
    [
        ("/v1/chat/completions", {}, ANSWER),
        ("/v1/chat/completions", {"max_tokens": 7}, 7),
        ("/v1/chat/completions", {"max_completion_tokens": 8}, 8),
        ("/v1/chat/completions", {"max_tokens": 7, "max_completion_tokens": 800}, 800),
        ("/v1/chat/completions", {"max_tokens": 7, "n": 3}, 21),
        ("/v1/chat/completions", {"n": 2}, 2 * ANSWER),
        ("/v1/chat/completions", {"max_tokens": 0}, ANSWER),
        ("/v1/chat/completions", {"max_tokens": -5}, ANSWER),
        ("/v1/chat/completions", {"max_tokens": None}, ANSWER),
        ("/v1/chat/completions", {"max_tokens": 10**30}, MOST),
        ("/v1/chat/completions", {"max_tokens": 10**15}, MOST),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": '"max_tokens": 1'}]}, ANSWER),
        ("/v1/completions", {"prompt": "a", "max_tokens": 7, "best_of": 4}, 28),
        ("/v1/completions", {"prompt": ["a", "b", "c"], "max_tokens": 7, "n": 2}, 42),
        ("/v1/completions", {"prompt": [1, 2, 3], "max_tokens": 7}, 7),
        ("/v1/completions", {"prompt": [[1], [2]], "max_tokens": 7}, 14),
        ("/v1/responses", {"input": "a", "max_output_tokens": 9}, 9),
        ("/v1/messages", {"messages": [], "max_tokens": 11}, 11),
        ("/api/chat", {"messages": [{"role": "user", "content": "a"}], "options": {"num_predict": 12}}, 12),
        ("/api/generate", {"prompt": "a", "options": {"num_predict": -1}}, ANSWER),
        ("/v1/embeddings", {"input": "a b c", "max_tokens": 5}, 0),
    ],
)
def test_the_answer(path: str, body: dict[str, Any], answer: int) -> None:
    asked = call(path, **body)
    assert of(asked) == Estimate(len(asked.body) // BYTES_PER_TOKEN + 1, answer)


def test_a_name_in_escapes_is_found() -> None:
    body = b'{"model": "m", "max\\u005ftokens": 9999, "messages": []}'
    assert of(ROUTES[b"/v1/chat/completions"].decode(body, "application/json")).answer == 9999


@pytest.mark.parametrize(("path", "body"), [("/tokenize", {"prompt": "a"}), ("/api/generate", {"keep_alive": 0})])
def test_what_no_model_works_on_is_free(path: str, body: dict[str, Any]) -> None:
    assert of(call(path, **body)).total == 0


def test_no_more_than_the_window() -> None:
    """Where it is known what a model takes; several answers at once each have their own."""
    asked = call(messages=[{"role": "user", "content": "x" * 1000}], max_tokens=10_000)
    assert of(asked, 2048).total == 2048
    assert of(call(max_tokens=10), 2048).total < 100
    assert of(call(max_tokens=10_000, n=2), 2048).answer == 20_000
    assert of(call(messages=[{"role": "user", "content": "x" * 10_000}]), 100) == Estimate(100, ANSWER)


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
_NAMES = ["max_tokens", "max_completion_tokens", "max_output_tokens", "n", "best_of", "prompt", "options", "input"]


@given(st.dictionaries(st.sampled_from(_NAMES), _VALUES), st.none() | st.integers(1, 10_000))
def test_any_body_that_is_served_is_judged(body: dict[str, Any], window: int | None) -> None:
    for path in ("/v1/chat/completions", "/v1/completions", "/v1/responses"):
        try:
            asked = call(path, **body)
        except Refusal:
            continue
        found = of(asked, window)
        assert 0 <= found.prompt <= MOST
        assert 0 < found.answer <= MOST


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        (b'{"model":"m","max_tokens":5}', 5),
        (b'{"model":"m","max_tokens" : 5 }', 5),
        (b'{"model":"m","max_tokens":5.0}', 5),
        (b'{"model":"m","max_tokens":1e5}', 100_000),
        (b'{"model":"m","max_tokens":"77"}', 77),
        (b'{"model":"m","max_tokens":5,"max_completion_tokens":9e4}', 90_000),
        (b'{"model":"m","max_tokens":5,"max_tokens":600}', 600),
        (b'{"model":"m","max_tokens":true}', ANSWER),
        (b'{"model":"m","max_tokens":{"a":1}}', ANSWER),
        (b'{"model":"m","stop":"\\"max_tokens\\":1}"}', ANSWER),
        (b'{"model":"m","metadata":{"max_tokens":1},"max_tokens":800}', 800),
    ],
)
def test_as_engines_read_it(body: bytes, answer: int) -> None:
    """Numbers in every form that an engine takes for one; never less than what it may be asked for."""
    assert of(ROUTES[b"/v1/chat/completions"].decode(body, "application/json")).answer == answer
