"""Requests with the same head on one connection, which the hot lane recognises: each is still a request of its own."""

from __future__ import annotations

import asyncio

import pytest
from tests.fakes.raw import Raw, request
from tests.gateway.site import BODY_LIMIT, SHARED, Site, chat

pytestmark = SHARED
PATH = "/v1/chat/completions"


def saying(word: str, model: str = "m", **fields: object) -> dict[str, object]:
    return {**chat(model, **fields), "messages": [{"role": "user", "content": word}]}


async def said(raw: Raw) -> str:
    answer = await raw.answer()
    assert answer.status == 200, answer.body
    return str(answer.json()["choices"][0]["message"]["content"])


async def warmed(raw: Raw) -> None:
    """The head has been seen, more than once."""
    for word in ("one", "three"):
        raw.ask(PATH, saying(word))
        assert await said(raw) == word


async def test_every_body_is_its_own_whatever_its_length(site: Site) -> None:
    async with Raw(site.url) as raw:
        await warmed(raw)
        for word in ("a", "b" * 9, "c" * 99, "d" * 999, "e" * 9999, "f"):
            raw.ask(PATH, saying(word))
            assert await said(raw) == word


async def test_every_answer_has_an_id_of_its_own(site: Site) -> None:
    async with Raw(site.url) as raw:
        ids = set()
        for _ in range(5):
            raw.ask(PATH, saying("hello"))
            ids.add((await raw.answer()).header("x-penstock-request-id"))
        assert len(ids) == 5


async def test_a_body_over_the_limit_is_refused_as_ever(site: Site) -> None:
    async with Raw(site.url) as raw:
        await warmed(raw)
        raw.ask(PATH, saying("x" * BODY_LIMIT))
        assert (await raw.answer()).status == 413
        await raw.end()


async def test_what_is_no_json_is_refused_and_the_next_is_answered(site: Site) -> None:
    async with Raw(site.url) as raw:
        await warmed(raw)
        raw.send(request(PATH, saying("x")).replace(b'"model"', b'"model}'))
        assert (await raw.answer()).status == 400
        raw.ask(PATH, saying("next"))
        assert await said(raw) == "next"


@pytest.mark.parametrize("cut", [1, 10, 60, -1])
async def test_a_request_in_two_pieces_is_one(site: Site, cut: int) -> None:
    async with Raw(site.url) as raw:
        await warmed(raw)
        data = request(PATH, saying("in two"))
        raw.send(data[:cut])
        # a request on another connection is a round trip in which the first piece has arrived
        await site.clean()
        raw.send(data[cut:])
        assert await said(raw) == "in two"


async def test_half_a_head_behind_a_request_is_not_forgotten(site: Site) -> None:
    """What follows it is the rest of that head, even where it looks like a request that was seen before."""
    async with Raw(site.url) as raw:
        await warmed(raw)
        half = b"POST /v1/chat/completions HTTP/1.1\r\nx-long: "
        raw.send(request(PATH, saying("whole")) + half)
        assert await said(raw) == "whole"
        raw.send(request(PATH, saying("smuggled")))
        answer = await raw.answer()
        # The first line of the second request became the value of a header; there are two hosts or none to object to,
        # and the body is the one of this single request.
        assert answer.status in {200, 400}
        raw.leave()


async def test_requests_sent_ahead_are_answered_in_order(site: Site) -> None:
    async with Raw(site.url) as raw:
        await warmed(raw)
        raw.send(b"".join(request(PATH, saying(word)) for word in ("first", "second", "third")))
        assert [await said(raw) for _ in range(3)] == ["first", "second", "third"]
        raw.ask(PATH, saying("fourth"))
        assert await said(raw) == "fourth"


async def test_streams_and_cold_routes_between_them_change_nothing(site: Site) -> None:
    async with Raw(site.url) as raw:
        await warmed(raw)
        raw.ask(PATH, saying("streamed", stream=True))
        assert b"streamed" in (await raw.answer()).body
        raw.ask("/v1/models")
        assert (await raw.answer()).status == 200
        raw.ask(PATH, saying("after"))
        assert await said(raw) == "after"


async def test_a_client_that_leaves_ends_the_engines_request(site: Site) -> None:
    async with Raw(site.url) as raw:
        await warmed(raw)
        gate = site.first.hold(before=0)
        raw.ask(PATH, saying("never"))
        await site.first.until(lambda: bool(site.first.running), "the request")
        raw.leave()
        await site.first.until(lambda: bool(site.first.aborts), "the end of it")
        gate.open()


async def test_many_connections_do_not_mix(site: Site) -> None:
    async def one(name: int) -> None:
        async with Raw(site.url) as raw:
            for number in range(20):
                raw.ask(PATH, saying(f"{name}-{number}" * (1 + number % 5)))
                assert await said(raw) == f"{name}-{number}" * (1 + number % 5)

    await asyncio.gather(*(one(name) for name in range(8)))
