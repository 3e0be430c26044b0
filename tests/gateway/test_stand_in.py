"""Who stands in for another, and what an engine's refusal says of whom: no caller is blamed for what only we could mend."""

from __future__ import annotations

import pytest
from tests.gateway.site import SHARED, Site, chat, running, site

from penstock.faults.script import Script

__all__ = ["running", "site"]
pytestmark = SHARED
DOWN = Script(status=500, message="out of blocks")


@pytest.fixture(scope="module")
def lane() -> str:
    """The steps are the same on both."""
    return "hot"


async def figure(site: Site, name: str, *labels: str) -> float:
    page = (await site.post("/metrics", None)).body.decode()
    rows = [row for row in page.splitlines() if row.startswith(name + "{") and all(label in row for label in labels)]
    return sum(float(row.rpartition(" ")[2]) for row in rows)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_prompt_that_only_the_first_target_could_take(site: Site, *, stream: bool) -> None:
    """The stand-in's window is smaller: that is no mistake of the caller, and both are named."""
    long = [{"role": "user", "content": "a " * 4090}]
    site.first.script = DOWN
    before = await figure(site, "penstock_attempts_failed_total", 'backend="spare"', 'reason="misfit"')
    answer = await site.post("/v1/chat/completions", {"model": "with-spare", "messages": long * 2, "stream": stream})
    error = answer.json()["error"]
    assert (answer.status, error["code"]) == (503, "unavailable")
    assert "first: it answered 500" in error["message"]
    assert "spare: it answered 400: the input length exceeds the context length" in error["message"]
    assert await figure(site, "penstock_attempts_failed_total", 'backend="spare"', 'reason="misfit"') == before + 1
    assert not site.ollama.answered


async def test_the_same_prompt_sent_to_that_engine_alone_is_the_callers_mistake(site: Site) -> None:
    ask = chat("via-ollama")
    ask["messages"] = [{"role": "user", "content": "a " * 5000}]
    assert (await site.post("/v1/chat/completions", ask)).status == 400


async def test_what_cannot_be_said_to_the_stand_in(site: Site) -> None:
    """Two answers at once: the first target would have given them."""
    site.first.script = DOWN
    answer = await site.chat("with-spare", n=2)
    assert answer.status == 503
    assert (
        "spare: Writing the request for Ollama: it gives one answer, and n is 2." in answer.json()["error"]["message"]
    )
    assert not site.ollama.requests
    assert (await site.chat("via-ollama", n=2)).status == 400


async def test_a_key_that_is_refused_opens_no_breaker(site: Site) -> None:
    for status in (401, 403):
        site.first.script = Script(status=status)
        for _ in range(8):
            assert (await site.chat("m2")).header("x-penstock-backend") == "second"
    assert await figure(site, "penstock_breaker_state", 'backend="first"') == 0
    site.first.script = Script()
    assert (await site.chat("m2")).header("x-penstock-backend") == "first"


async def test_the_words_of_a_compressed_refusal_are_not_guessed(site: Site) -> None:
    head = "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-encoding: gzip\r\n"
    site.first.script = Script(raw=f"{head}content-length: 4\r\n\r\n\x1f\x8b\x08\x00")
    answer = await site.chat("m")
    assert (answer.status, answer.json()["error"]["message"]) == (400, "the engine gave no reason")


async def test_an_answer_hidden_behind_one_that_was_none_is_nobodys(site: Site) -> None:
    """The connection it may stand on carries no other request."""
    empty = 'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 14\r\n\r\n{"choices":[]}'
    site.first.script = Script(raw=empty)
    accepted = site.first.accepted
    answer = await site.chat("m2")
    assert answer.header("x-penstock-fallback") == "broken"
    site.first.script = Script()
    await site.clean()
    assert site.first.accepted > accepted
