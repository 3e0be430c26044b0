"""What a shadow leaves behind: pairs that say what both engines said, whatever protocol and form was spoken."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.gateway.shadow.site import HELLO, SHARED, Site, chat

from penstock.faults.script import Script, ToolUse

pytestmark = SHARED


@pytest.fixture(params=["hot", "asgi"], scope="module")
def lane(request: pytest.FixtureRequest) -> str:
    """Both data planes: what a client gets comes another way in each."""
    return str(request.param)


FORMS: dict[str, tuple[str, dict[str, Any]]] = {
    "chat": ("/v1/chat/completions", {"messages": HELLO}),
    "chat stream": ("/v1/chat/completions", {"messages": HELLO, "stream": True}),
    "completion": ("/v1/completions", {"prompt": "hello wide world"}),
    "completion stream": ("/v1/completions", {"prompt": "hello wide world", "stream": True}),
    "ollama chat": ("/api/chat", {"messages": HELLO, "stream": False}),
    "ollama chat stream": ("/api/chat", {"messages": HELLO}),
    "messages": ("/v1/messages", {"messages": HELLO, "max_tokens": 20}),
    "messages stream": ("/v1/messages", {"messages": HELLO, "max_tokens": 20, "stream": True}),
    "generate": ("/api/generate", {"prompt": "hello wide world", "stream": False}),
    "generate stream": ("/api/generate", {"prompt": "hello wide world"}),
}
VECTORS: dict[str, dict[str, Any]] = {
    "/v1/embeddings": {"input": ["hello", "world"]},
    "/api/embed": {"input": ["hello", "world"]},
    "/api/embeddings": {"prompt": "hello"},
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("alias", ["m", "to-ollama", "from-ollama"])
async def test_both_answers_are_paired(site: Site, alias: str, form: str) -> None:
    """S3.13, S3.26: engines deployed side by side answer the same requests, and the answers are compared."""
    path, body = FORMS[form]
    watched = await site.watch(alias)
    answer = await site.post(path, {"model": alias, **body})
    assert answer.status == 200, answer.body
    assert await watched.over(1) == {"agreed": 1}
    (pair,) = watched.pairs()
    assert pair.id == answer.header("x-penstock-request-id")
    assert (pair.asked.path, pair.asked.prompt) == (path, "hello wide world")
    assert pair.asked.stream == ("stream" in form)
    assert pair.first.text == pair.second.text == "hello wide world"
    assert pair.first.backend == answer.header("x-penstock-backend")
    assert pair.second.backend == {"to-ollama": "spare"}.get(alias, "second")
    assert pair.first.finish == pair.second.finish == ("end_turn" if path == "/v1/messages" else "stop")
    assert pair.first.completion_tokens > 0
    assert pair.second.completion_tokens > 0
    assert 0 < pair.second.seconds < 20
    assert (pair.second.first_token > 0) == pair.asked.stream == (pair.first.first_token > 0)


@pytest.mark.parametrize("path", VECTORS)
@pytest.mark.parametrize("alias", ["m", "to-ollama"])
async def test_vectors_are_compared_and_not_kept(site: Site, alias: str, path: str) -> None:
    watched = await site.watch(alias)
    answer = await site.post(path, {"model": alias, **VECTORS[path]})
    assert answer.status == 200, answer.body
    ends = await watched.over(1)
    (pair,) = watched.pairs()
    assert pair.verdict.measure == "vectors"
    assert pair.first.vectors == pair.second.vectors == ()
    if alias == "m":
        assert ends == {"agreed": 1}
        assert pair.verdict.cosine == pytest.approx(1.0)


async def test_what_differs_is_told_where(site: Site) -> None:
    watched = await site.watch("m")
    site.second.script = Script(tokens=("hello", " narrow", " world"))
    await site.post("/v1/chat/completions", chat())
    assert await watched.over(1) == {"differed": 1}
    (pair,) = watched.pairs()
    assert pair.verdict.first_difference == 1
    assert pair.verdict.shared == pytest.approx(2 / 3)


async def test_tools_are_asked_for_by_both_and_run_by_nobody(site: Site) -> None:
    """S3.25: a tool call is an answer like any other, to be compared."""
    tool = {"type": "function", "function": {"name": "find", "parameters": {"type": "object"}}}
    watched = await site.watch("m")
    for stream in (False, True):
        site.first.script = Script(tools=(ToolUse(name="find", arguments='{"q": 1, "r": 2}'),))
        site.second.script = Script(tools=(ToolUse(name="find", arguments='{"r": 2,"q": 1.0}'),))
        await site.post("/v1/chat/completions", chat(tools=[tool], stream=stream))
    site.second.script = Script(tools=(ToolUse(name="find", arguments='{"q": 3}'),))
    await site.post("/v1/chat/completions", chat(tools=[tool]))
    assert await watched.over(3) == {"agreed": 2, "differed": 1}
    assert [pair.verdict.measure for pair in watched.pairs()] == ["tools"] * 3
    assert len(site.second.requests) == 3


async def test_json_is_compared_as_values(site: Site) -> None:
    watched = await site.watch("m")
    site.first.script = Script(tokens=('{"a":', ' 1, "b": 2}'))
    site.second.script = Script(tokens=('{"b":2,', '"a":1}'))
    await site.post("/v1/chat/completions", chat(response_format={"type": "json_object"}))
    await site.post("/v1/chat/completions", chat())
    assert await watched.over(2) == {"agreed": 1, "differed": 1}


async def test_an_answer_that_came_from_a_fallback_is_the_one_that_is_paired(site: Site) -> None:
    watched = await site.watch("falls")
    answer = await site.post("/v1/chat/completions", chat("falls"))
    assert answer.header("x-penstock-fallback")
    assert await watched.over(1) == {"agreed": 1}
    (pair,) = watched.pairs()
    assert (pair.first.backend, pair.second.backend) == ("first", "second")
    assert len(site.second.requests) == 1


async def test_without_text_no_word_is_kept(site: Site) -> None:
    watched = await site.watch("mute")
    secret = [{"role": "user", "content": "pomegranate seeds"}]
    for _ in range(5):
        await site.post("/v1/chat/completions", {"model": "mute", "messages": secret})
    assert await watched.over(5) == {"agreed": 5}
    pairs = watched.pairs()
    assert len(pairs) == 3, "no more than `pairs` are kept"
    assert "pomegranate" not in json.dumps([repr(pair) for pair in pairs])
    assert pairs[0].first.digest == pairs[0].second.digest != ""
    assert pairs[0].verdict.words == (2, 2)


async def test_the_callers_own_mistake_fails_on_both_sides(site: Site) -> None:
    watched = await site.watch("m")
    answer = await site.post("/v1/chat/completions", chat(max_tokens=10**9))
    assert answer.status == 400
    assert await watched.over(1) == {"both_failed": 1}
    (pair,) = watched.pairs()
    assert pair.first.status == pair.second.status == 400
    assert "max_tokens" in pair.first.error


async def test_a_broken_stream_is_a_failure_of_its_side(site: Site) -> None:
    watched = await site.watch("m")
    site.first.script = Script(cut_after=2)
    answer = await site.post("/v1/chat/completions", chat(stream=True))
    assert b"error" in answer.body
    assert await watched.over(1) == {"first_failed": 1}
    site.first.script, site.second.script = Script(), Script(cut_after=2)
    await site.post("/v1/chat/completions", chat(stream=True))
    assert await watched.over(2) == {"first_failed": 1, "second_failed": 1}
