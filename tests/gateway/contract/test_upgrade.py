"""Offers to speak another protocol: ignored where nothing is lost by it, else refused once and clearly."""

from __future__ import annotations

from tests.fakes.raw import Raw
from tests.gateway.site import SHARED, Site, chat

pytestmark = SHARED

OFFER = ("connection: upgrade, http2-settings", "upgrade: h2c", "http2-settings: AAMAAABkAARAAAAAAAIAAAAA")


async def test_an_offer_without_a_body_is_not_taken_up(site: Site) -> None:
    async with Raw(site.url) as raw:
        for _ in range(2):
            raw.ask("/v1/models", None, *OFFER)
            raw.ask("/v1/models")
            assert [(await raw.answer()).status for _ in range(2)] == [200, 200]


async def test_an_offer_with_a_body_gets_one_answer_that_says_what_to_do(site: Site) -> None:
    async with Raw(site.url) as raw:
        raw.ask("/v1/chat/completions", chat(), *OFFER)
        answer = await raw.answer()
        assert answer.status == 400
        assert not answer.keep_alive
        assert "HTTP/1.1" in answer.error
        await raw.end()
        assert raw.received.count(b"HTTP/1.1 ") == 1
    assert not site.first.requests
    await site.clean()
