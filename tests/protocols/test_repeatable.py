"""Which requests may be asked twice, and what they ask for."""

from __future__ import annotations

import json
from typing import Any

import pytest

from penstock.protocols.repeatable import Wish, wish_of
from penstock.protocols.table import ROUTES

HELLO: list[dict[str, Any]] = [{"role": "user", "content": "hello"}]


def wish(path: str, **fields: object) -> Wish:
    body = json.dumps({"model": "m", **fields}).encode()
    return wish_of(ROUTES[path.encode()].decode(body, "application/json"))


def chat(**fields: object) -> Wish:
    return wish("/v1/chat/completions", messages=HELLO, **fields)


def ollama(**fields: object) -> Wish:
    return wish("/api/chat", **{"messages": HELLO, **fields})


FUNCTION = {"type": "function", "function": {"name": "f"}}


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"stream": True},
        {"store": False},
        {"store": None},
        {"tools": [FUNCTION], "tool_choice": "required"},
        {"tools": [{"type": "custom", "custom": {"name": "f"}}]},
        {"metadata": {"a": "b"}, "user": "me", "cache_salt": "s"},
    ],
)
def test_a_chat_may_be_asked_twice(fields: dict[str, object]) -> None:
    assert chat(**fields).effect == ""


@pytest.mark.parametrize(
    ("fields", "effect"),
    [
        ({"store": True}, "stored"),
        ({"previous_response_id": "resp_1"}, "stored"),
        ({"background": True}, "background"),
        ({"tools": [{"type": "web_search"}]}, "server_tools"),
        ({"tools": [FUNCTION, {"type": "mcp", "server_url": "http://a"}]}, "server_tools"),
        ({"web_search_options": {}}, "server_tools"),
        ({"mcp_servers": [{"url": "http://a"}]}, "server_tools"),
        ({"kv_transfer_params": {"do_remote_prefill": True}}, "engine_state"),
        ({"temperature": "hot"}, "unreadable"),
    ],
)
def test_what_would_leave_something_behind(fields: dict[str, object], effect: str) -> None:
    """S3.25: no side effect is doubled."""
    assert chat(**fields).effect == effect


@pytest.mark.parametrize(
    ("part", "effect"),
    [
        ({"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}, ""),
        ({"type": "image_url", "image_url": {"url": "https://pictures.example/once"}}, "remote_url"),
        ({"type": "image_url", "image_url": "http://pictures.example/once"}, "remote_url"),
        ({"type": "video_url", "video_url": {"url": "file:///films/one"}}, "remote_url"),
        ({"type": "text", "text": "https://pictures.example"}, ""),
        ({"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}}, ""),
    ],
)
def test_no_address_is_fetched_twice(part: dict[str, object], effect: str) -> None:
    """S3.25: an address may answer once only."""
    history = [{"role": "user", "content": [part]}, *HELLO]
    assert wish("/v1/chat/completions", messages=history).effect == effect


def test_what_anthropics_messages_would_do_twice() -> None:
    def effect(**fields: object) -> str:
        return wish("/v1/messages", **{"messages": HELLO, "max_tokens": 5, **fields}).effect

    assert effect(tools=[{"type": "web_search_20250305", "name": "web_search"}]) == "server_tools"
    assert effect(mcp_servers=[{"type": "url", "url": "http://a"}]) == "server_tools"
    assert effect(container="container_1") == "server_tools"
    picture = {"type": "image", "source": {"type": "url", "url": "https://pictures.example/once"}}
    assert effect(messages=[{"role": "user", "content": [picture]}]) == "remote_url"
    inside = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA"}}
    assert effect(messages=[{"role": "user", "content": [inside]}]) == ""
    spoken = wish(
        "/v1/messages", messages=[{"role": "user", "content": [{"type": "text", "text": "a"}]}], temperature=0
    )
    assert (spoken.prompt, spoken.greedy) == ("a", True)


def test_only_the_families_that_can_be_compared() -> None:
    assert wish("/v1/responses", input="a", store=True).effect == "route"
    assert wish("/v1/messages/count_tokens", messages=HELLO).effect == "route"
    assert wish("/tokenize", prompt="a").effect == "route"
    assert wish("/score", text_1="a", text_2="b").effect == "route"
    for path, fields in (
        ("/v1/completions", {"prompt": "a"}),
        ("/v1/embeddings", {"input": ["a", "b"]}),
        ("/v1/messages", {"messages": HELLO, "max_tokens": 5, "tools": [{"name": "f", "input_schema": {}}]}),
        ("/api/generate", {"prompt": "a"}),
        ("/api/embed", {"input": "a"}),
        ("/api/embeddings", {"prompt": "a"}),
    ):
        assert wish(path, **fields).effect == "", path


@pytest.mark.parametrize(
    ("fields", "effect"),
    [
        ({}, ""),
        ({"keep_alive": "5m"}, ""),
        ({"keep_alive": -1}, ""),
        ({"keep_alive": 0}, "engine_state"),
        ({"keep_alive": "0s"}, "engine_state"),
        ({"messages": []}, "engine_state"),
    ],
)
def test_no_second_engine_unloads_its_model(fields: dict[str, object], effect: str) -> None:
    assert ollama(**fields).effect == effect


def test_numbers_of_one_tokenizer_mean_nothing_to_another() -> None:
    assert wish("/v1/completions", prompt=[1, 2]).effect == "token_ids"
    assert wish("/v1/completions", prompt=[[1], [2]]).effect == "token_ids"
    assert wish("/v1/embeddings", input=[1]).effect == "token_ids"
    assert wish("/api/generate", prompt="a", context=[1, 2]).effect == "token_ids"


@pytest.mark.parametrize(
    ("fields", "greedy"),
    [
        ({}, False),
        ({"temperature": 0}, True),
        ({"temperature": 0.0}, True),
        ({"top_k": 1}, True),
        ({"temperature": 1}, False),
    ],
)
def test_whether_sampling_is_off(fields: dict[str, object], *, greedy: bool) -> None:
    assert chat(**fields).greedy is greedy
    assert ollama(options=fields).greedy is greedy


@pytest.mark.parametrize(
    ("fields", "structured"),
    [
        ({}, False),
        ({"response_format": {"type": "text"}}, False),
        ({"response_format": {"type": "json_object"}}, True),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": {}}}}, True),
        ({"guided_json": {}}, True),
        ({"structured_outputs": {"json": {}}}, True),
        ({"structured_outputs": {"regex": "a"}}, False),
    ],
)
def test_whether_json_is_asked_for(fields: dict[str, object], *, structured: bool) -> None:
    assert chat(**fields).json is structured


def test_ollamas_format_and_tools() -> None:
    assert ollama(format="json").json
    assert ollama(format={"type": "object"}).json
    assert not ollama(format="").json
    assert ollama(tools=[FUNCTION]).tools
    assert chat(tools=[FUNCTION]).tools
    assert not chat(tools=[FUNCTION], tool_choice="none").tools


def test_the_prompt_is_what_the_user_said_last() -> None:
    turns = [*HELLO, {"role": "assistant", "content": "hi"}, {"role": "user", "content": "bye"}]
    assert wish("/v1/chat/completions", messages=turns).prompt == "bye"
    parts = [{"type": "text", "text": "see"}, {"type": "image_url", "image_url": {"url": "data:"}}]
    assert wish("/v1/chat/completions", messages=[{"role": "user", "content": parts}]).prompt == "see\n"
    assert wish("/v1/chat/completions", messages=[{"role": "system", "content": "s"}]).prompt == ""
    assert wish("/v1/completions", prompt=["a", "b"]).prompt == "a\nb"
    assert wish("/v1/embeddings", input="e").prompt == "e"
    assert wish("/api/generate", prompt="g").prompt == "g"
    assert wish("/api/embed", input=["a", "b"]).prompt == "a\nb"
    assert ollama().prompt == "hello"
