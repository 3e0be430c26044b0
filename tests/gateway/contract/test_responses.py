"""`/v1/responses` is stateful: what one backend stored is asked of that backend, and of no other."""

from __future__ import annotations

import json

from tests.fakes.raw import once
from tests.gateway.site import SHARED, Site

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
