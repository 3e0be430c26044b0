"""HTTP itself: framing, keep-alive, order, and the versions and verbs around the ordinary POST."""

from __future__ import annotations

import asyncio
import json

import pytest
from tests.fakes.raw import Raw, once, request
from tests.gateway.site import SHARED, Site, chat

from penstock.faults.script import Script

pytestmark = SHARED
PATH = "/v1/chat/completions"


def saying(word: str, model: str = "m", **fields: object) -> dict[str, object]:
    return {**chat(model, **fields), "messages": [{"role": "user", "content": word}]}


async def test_keep_alive_carries_request_after_request(site: Site) -> None:
    async with Raw(site.url) as raw:
        for word in ("one", "two", "three"):
            raw.ask(PATH, saying(word))
            answer = await raw.answer()
            assert answer.json()["choices"][0]["message"]["content"] == word
            assert answer.keep_alive
            raw.ask(PATH, saying(word, stream=True))
            stream = await raw.answer()
            assert stream.keep_alive
            assert stream.header("transfer-encoding") == "chunked"
        raw.ask("/v1/models")
        assert (await raw.answer()).status == 200
        raw.ask(PATH, saying("after a cold route"))
        assert (await raw.answer()).status == 200


async def test_engine_connections_are_reused(site: Site) -> None:
    await site.clean()
    before = site.first.accepted
    for _ in range(5):
        await site.clean()
    assert site.first.accepted - before <= 1


async def test_a_pooled_connection_the_engine_gave_up_is_replaced(site: Site) -> None:
    """The keep-alive race: retried once on a fresh connection, unnoticed."""
    for _ in range(3):
        await site.clean()
        site.first.close_idle()
    assert not site.first.aborts


async def test_connection_close_is_honoured(site: Site) -> None:
    async with Raw(site.url) as raw:
        raw.ask(PATH, saying("bye"), "connection: close")
        assert (await raw.answer()).status == 200
        await raw.end()


async def test_http_1_0_gets_an_unchunked_answer_and_the_end(site: Site) -> None:
    for stream in (False, True):
        async with Raw(site.url) as raw:
            raw.ask(PATH, saying("old", stream=stream), version="1.0")
            answer = await raw.answer()
            assert answer.status == 200
            assert answer.header("transfer-encoding") is None
            assert b"old" in answer.body
            await raw.end()
            assert raw.received.count(b"HTTP/1.1 200") == 1
            if stream:
                assert raw.received.endswith(b"data: [DONE]\n\n")


async def test_head_has_no_body(site: Site) -> None:
    for path, status in (("/", 200), ("/api/version", 200), ("/api/tags", 200), ("/livez", 200), (PATH, 405)):
        async with Raw(site.url) as raw:
            raw.send(request(path, None, method="HEAD"))
            raw.ask("/livez", None, "connection: close")
            received = await raw.end()
            heads = received.split(b"\r\n\r\n")
            assert heads[0].startswith(b"HTTP/1.1 %d" % status)
            assert heads[1].startswith(b"HTTP/1.1 200"), received


async def test_pipelined_hot_requests_are_answered_in_order(site: Site) -> None:
    """Three requests in one segment: three answers, each its own (a cross-tenant hazard)."""
    site.first.next.clear()
    words = ["alpha", "beta", "gamma"]
    async with Raw(site.url) as raw:
        raw.send(b"".join(request(PATH, saying(word, stream=word == "beta")) for word in words))
        for word in words:
            answer = await raw.answer()
            assert answer.status == 200
            assert word.encode() in answer.body
            assert not any(other.encode() in answer.body for other in words if other != word)


async def test_a_slow_first_answer_does_not_let_the_second_overtake(site: Site) -> None:
    gate = site.first.hold(before=0)
    async with Raw(site.url) as raw:
        raw.send(request(PATH, saying("slow")) + request(PATH, saying("quick", model="only-second")))
        await gate.reached()
        gate.open()
        assert b"slow" in (await raw.answer()).body
        assert b"quick" in (await raw.answer()).body


@pytest.mark.parametrize("behind", ["half a head", "half a body", "a request", "an empty line"])
async def test_what_is_sent_ahead_does_not_end_the_answer_before_it(site: Site, behind: str) -> None:
    """The time in which a request has to come in is no limit of an answer that is still being given."""
    whole = request(PATH, saying("next"))
    ahead = {"half a head": whole[:40], "half a body": whole[:-5], "a request": whole, "an empty line": b"\r\n"}[behind]
    gate = site.first.hold(before=0)
    async with Raw(site.url) as raw, Raw(site.url) as slow:
        raw.ask(PATH, saying("first"))
        await gate.reached()
        raw.send(ahead)
        assert (await once(site.url, "/livez")).status == 200
        # When this one's time is over, so is that of everything that came before it.
        slow.send(whole[:40])
        await slow.end()
        gate.open()
        assert b"first" in (await raw.answer()).body
        if behind == "a request":
            assert b"next" in (await raw.answer()).body


async def test_half_a_request_sent_ahead_is_not_waited_for_without_end(site: Site) -> None:
    async with Raw(site.url) as raw:
        raw.send(request("/api/version") + request("/api/show", {"model": "m"})[:-3])
        assert "version" in (await raw.answer()).json()
        await raw.end()


async def test_pipelined_cold_after_hot_keeps_the_order_or_closes(site: Site) -> None:
    """Never out of order; a lane that cannot keep it answers the first and closes, so that the client asks again."""
    gate = site.first.hold(before=0)
    async with Raw(site.url) as raw:
        raw.send(request(PATH, saying("hot")) + request("/api/version"))
        await gate.reached()
        gate.open()
        assert b"hot" in (await raw.answer()).body
        second = await raw.answer()
        assert raw.closed or "version" in second.json()
    async with Raw(site.url) as raw:
        raw.send(request("/api/version") + request(PATH, saying("hot")))
        assert "version" in (await raw.answer()).json()
        assert b"hot" in (await raw.answer()).body


async def test_more_requests_ahead_than_wait_are_never_mixed(site: Site) -> None:
    """Beyond the bound the connection closes after the answers it owes and one that says so; none comes twice or out of order."""
    async with Raw(site.url) as raw:
        raw.send(b"".join(request(PATH, saying(f"number{place}")) for place in range(40)))
        answered = 0
        while (answer := await raw.answer()).status == 200:
            assert answer.json()["choices"][0]["message"]["content"] == f"number{answered}"
            answered += 1
        assert answered >= 8
        assert answer.status == 400
        assert "wait already" in answer.error
        assert (await raw.end()).count(b"HTTP/1.1 ") == answered + 1
    assert len(site.first.requests) == answered


async def test_chunked_request_body(site: Site) -> None:
    body = json.dumps(saying("in chunks")).encode()
    async with Raw(site.url) as raw:
        raw.send(request(PATH, b"", "transfer-encoding: chunked"))
        for start in range(0, len(body), 7):
            piece = body[start : start + 7]
            raw.send(b"%x;ext=1\r\n%b\r\n" % (len(piece), piece))
        raw.send(b"0\r\ntrailer: x\r\n\r\n")
        answer = await raw.answer()
        assert answer.status == 200
        assert b"in chunks" in answer.body
    sent = site.first.requests[0]
    assert sent.header("content-length") == str(len(sent.body))


async def test_expect_100_continue(site: Site) -> None:
    body = json.dumps(saying("expected")).encode()
    for framing in (f"content-length: {len(body)}", "transfer-encoding: chunked"):
        async with Raw(site.url) as raw:
            raw.send(request(PATH, b"", framing, "expect: 100-continue"))
            await raw.until(b"HTTP/1.1 100 Continue\r\n\r\n")
            raw.send(body if "length" in framing else b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))
            answer = await raw.answer()
            assert answer.status == 200
            assert b"expected" in answer.body


async def test_a_body_in_single_bytes(site: Site) -> None:
    async with Raw(site.url) as raw:
        for byte in request(PATH, saying("bytewise")):
            raw.send(bytes((byte,)))
            await asyncio.sleep(0)
        assert b"bytewise" in (await raw.answer()).body


async def test_a_client_that_reads_nothing_stops_the_engine_and_not_the_gateway(site: Site) -> None:
    """Back-pressure: the engine cannot run ahead of a client that does not read; others are served meanwhile."""
    site.first.next.append(Script(tokens=("x" * 30_000,), count=2_000))
    async with Raw(site.url) as raw:
        raw.ask(PATH, saying("flood", stream=True))
        await raw.until(b"xxxx")
        await site.first.until(lambda: len(site.first.requests) == 1, "the flood to begin")
        for _ in range(20):
            await site.clean()
        assert site.first.running >= 1
        assert site.first.answered == 20, "the flood of 60 MB fitted into somebody's buffers"
    await site.first.aborted()
