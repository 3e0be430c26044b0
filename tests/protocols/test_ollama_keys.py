"""No request says one thing to us and another to an Ollama behind us."""

from __future__ import annotations

import json

import pytest
from tests.protocols.ollama_wire import ask

from penstock.errors import BadRequest

USER = b'"messages":[{"role":"user","content":"hi"}]'


@pytest.mark.parametrize(
    "key", [b"Model", b"MODEL", b"mod\\u0045l", b"\\u004dodel", b"\\u004d\\u004f\\u0044\\u0045\\u004c"]
)
def test_a_second_model_cannot_be_smuggled_past_the_alias(key: bytes) -> None:
    """Go takes the last key that matches without regard to case: the backend would serve another model."""
    for body in (
        b'{"model":"m","' + key + b'":"other",' + USER + b"}",
        b'{"' + key + b'" : "other","model":"m",' + USER + b"}",
    ):
        with pytest.raises(BadRequest, match="to Ollama"):
            ask("/api/chat", body)


@pytest.mark.parametrize(
    "key", ["Messages", "me\u017f\u017fages", "keep_alive".replace("k", "\u212a"), "Prompt", "System", "OPTIONS"]
)
def test_nor_can_any_other_member(key: str) -> None:
    """Go folds the long s and the Kelvin sign too."""
    for path in ("/api/chat", "/api/generate"):
        with pytest.raises(BadRequest, match="to Ollama"):
            ask(path, {"model": "m", key: None})


@pytest.mark.parametrize("key", ["Content", "ROLE", "Tool_Calls", "image\u017f"])
def test_nor_a_messages_member(key: str) -> None:
    with pytest.raises(BadRequest, match="to Ollama"):
        ask("/api/chat", {"model": "m", "messages": [{"role": "user", "content": "hi"}, {"role": "user", key: "hi"}]})


def test_messages_of_a_route_that_has_none_are_not_looked_into() -> None:
    """`/api/embed` has no messages; whatever stands there is not ours."""
    assert ask("/api/embed", {"model": "m", "input": "a", "messages": "A", "B": 1}).model == "m"


def test_what_is_not_ours_may_be_spelled_as_it_likes() -> None:
    tool = {
        "type": "function",
        "function": {"name": "f", "parameters": {"properties": {"Model": {}, "Content": {}, "é": {}}}},
    }
    call = {"role": "assistant", "tool_calls": [{"function": {"name": "F", "arguments": {"Role": 1}}}]}
    body = {"model": "m", "messages": [call, {"role": "user", "content": '{"Model": "x"}'}], "tools": [tool], "X": 1}
    assert ask("/api/chat", body).model == "m"
    assert ask("/api/chat", body | {"format": {"Model": {}}, "options": {"Seed": 1}}).model == "m"


def test_a_long_prompt_costs_one_pass() -> None:
    """Upper case and quotes everywhere; the search is bounded at each quote."""
    text = ('He Said "A" \\ ' * 20_000)[:250_000]
    assert ask("/api/generate", json.dumps({"model": "m", "prompt": text}).encode()).model == "m"
