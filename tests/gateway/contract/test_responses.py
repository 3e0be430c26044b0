"""`/v1/responses` is stateful: what one backend stored is asked of that backend, and of no other."""

from __future__ import annotations

import json

import pytest
from tests.fakes.raw import Raw, once
from tests.gateway.site import SHARED, Site

from penstock.faults.script import Script

pytestmark = SHARED


async def make(site: Site, backend: str, **fields: object) -> str:
    """An answer stored on this replica; its id."""
    for number in range(50):
        answer = await site.post("/v1/responses", {"model": "replicas", "input": "a b", "user": f"u{number}", **fields})
        assert answer.status == 200, answer.body
        if answer.header("x-penstock-backend") == backend:
            return str(answer.json()["id"])
    raise AssertionError(f"50 sessions and none went to {backend}")


async def test_an_answer_is_fetched_from_the_backend_that_made_it(site: Site) -> None:
    for backend in ("first", "second"):
        identity = await make(site, backend)
        answer = await once(site.url, f"/v1/responses/{identity}?include=x")
        assert answer.status == 200
        assert answer.json()["id"] == identity
        assert answer.header("x-penstock-backend") == backend


async def test_cancel_goes_there_too(site: Site) -> None:
    identity = await make(site, "second")
    answer = await once(site.url, f"/v1/responses/{identity}/cancel", b"", method="POST")
    assert answer.status == 400
    assert answer.error == "Cannot cancel a synchronous response."
    asked = [request.target for request in site.second.requests if request.target.endswith("/cancel")]
    assert asked == [f"/v1/responses/{identity}/cancel"]


async def test_a_continued_conversation_stays_where_it_is(site: Site) -> None:
    for backend in ("first", "second"):
        identity = await make(site, backend)
        for _ in range(3):
            ask = {"model": "replicas", "input": "and then?", "previous_response_id": identity}
            answer = await site.post("/v1/responses", ask)
            assert answer.status == 200, answer.body
            assert answer.header("x-penstock-backend") == backend


async def test_a_streamed_answer_sticks(site: Site) -> None:
    stream = await site.post("/v1/responses", {"model": "replicas", "input": "a", "stream": True})
    made_by = stream.header("x-penstock-backend")
    created = json.loads(stream.events[0].split(b"data: ")[1])["response"]["id"]
    answer = await once(site.url, f"/v1/responses/{created}")
    assert answer.status == 200
    assert answer.header("x-penstock-backend") == made_by


async def test_an_unknown_answer_is_asked_of_nobody(site: Site) -> None:
    answer = await once(site.url, "/v1/responses/resp_nobody")
    assert answer.status == 404
    assert "resp_nobody" in answer.error
    assert not site.first.requests
    assert not site.second.requests


async def test_a_stored_answer_is_streamed_as_it_comes(site: Site) -> None:
    """Its first event is there while the engine is held before a later one."""
    identity = await make(site, "first")
    gate = site.first.hold(before=1)
    async with Raw(site.url) as raw:
        raw.ask(f"/v1/responses/{identity}?stream=true", None)
        await gate.reached()
        await raw.until(b"response.output_text.delta")
        assert b"response.completed" not in raw.received
        gate.open()
        await raw.until(b"response.completed")
    assert b"x-penstock-backend: first" in raw.received.lower()
    assert b"error" not in raw.received


@pytest.mark.parametrize("query", ["", "?stream=true"])
async def test_a_client_that_leaves_while_it_waits_for_one_is_noticed(site: Site, query: str) -> None:
    """H6."""
    identity = await make(site, "first")
    site.first.script = Script(silent=True)
    async with Raw(site.url) as raw:
        raw.ask(f"/v1/responses/{identity}{query}", None)
        await site.first.until(lambda: site.first.requests[-1].method == "GET", "the question")
    assert (await site.first.aborted()).request.path == f"/v1/responses/{identity}"


async def test_a_client_that_leaves_in_the_middle_of_its_stream_is_noticed(site: Site) -> None:
    """H6."""
    identity = await make(site, "first")
    gate = site.first.hold(before=1)
    async with Raw(site.url) as raw:
        raw.ask(f"/v1/responses/{identity}?stream=true", None)
        await gate.reached()
        await raw.until(b"response.output_text.delta")
    assert (await site.first.aborted()).tokens == 1


async def test_a_stored_answer_that_breaks_off_ends_in_an_error(site: Site) -> None:
    identity = await make(site, "first")
    for script in (Script(cut_after=1), Script(cut_after=1, cut="eos")):
        site.first.script = script
        stream = await once(site.url, f"/v1/responses/{identity}?stream=true")
        assert stream.status == 200
        assert b'"error"' in stream.events[-1]
        assert b"response.completed" not in stream.body
    for script in (
        Script(reset=True),
        Script(truncate=40),
        Script(cut_json=40),
        Script(body="<html>"),
        Script(gzip=True),
        Script(content_type="text/plain"),
    ):
        site.first.script = script
        torn = await once(site.url, f"/v1/responses/{identity}")
        assert torn.status == 502, script
        assert torn.json()["error"]["code"] in {"engine_unreachable", "engine_broken_answer"}
    page = "HTTP/1.1 503 Busy\r\ncontent-type: text/html\r\ncontent-length: 6\r\n\r\n<html>"
    site.first.script = Script(raw=page)
    refused = await once(site.url, f"/v1/responses/{identity}")
    assert (refused.status, refused.error) == (503, "<html>")
    site.first.script = Script(reset=True)
    whole = await once(site.url, f"/v1/responses/{identity}")
    assert whole.status == 502
    assert whole.error.startswith("first: ")
