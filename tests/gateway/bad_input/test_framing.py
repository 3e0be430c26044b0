"""HTTP that is not HTTP, or that two readers could understand in two ways: refused, closed, and nothing leaks."""

from __future__ import annotations

import asyncio
import json

import pytest
from tests.fakes.raw import Raw, request
from tests.gateway.site import HEAD_LIMIT, SHARED, Site

pytestmark = SHARED

PATH = b"/v1/chat/completions"
BODY = json.dumps({"model": "m", "messages": [{"role": "user", "content": "victim"}]}).encode()
SMUGGLED = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nsmuggled!"


def post(*lines: bytes, body: bytes = BODY, path: bytes = PATH, line_end: bytes = b"\r\n") -> bytes:
    head = [b"POST " + path + b" HTTP/1.1", b"host: penstock.test", *lines]
    return line_end.join([*head, b"", b""]) + body


LENGTH = b"content-length: %d" % len(BODY)
CHUNKED = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)

REFUSED: dict[str, bytes] = {
    "CL and TE": post(b"content-length: 6", b"transfer-encoding: chunked", body=b"0\r\n\r\nG") + SMUGGLED,
    "TE and CL": post(b"transfer-encoding: chunked", LENGTH, body=CHUNKED),
    "two lengths": post(LENGTH, b"content-length: 3"),
    "two lengths in one": post(b"content-length: 3, %d" % len(BODY)),
    "negative length": post(b"content-length: -1"),
    "length with a plus": post(b"content-length: +%d" % len(BODY)),
    "length in hex": post(b"content-length: 0x10"),
    "length with a space": post(b"content-length: 1 0"),
    "huge length": post(b"content-length: 99999999999999999999999999"),
    "empty length": post(b"content-length: "),
    "unknown coding": post(b"transfer-encoding: xchunked", body=CHUNKED),
    "coding before chunked": post(b"transfer-encoding: chunked, identity", body=CHUNKED),
    "space before the colon": post(b"content-length : %d" % len(BODY)),
    "a header without a colon": post(LENGTH, b"oops"),
    "an empty header name": post(LENGTH, b": oops"),
    "a folded header": post(LENGTH, b"x-a: b\r\n  folded"),
    "a NUL in a value": post(LENGTH, b"x-a: b\x00c"),
    "a CR in a value": post(LENGTH, b"x-a: b\rc"),
    "a bare LF in a value": post(LENGTH, b"x-a: b\nc"),
    "a chunk size that is none": post(b"transfer-encoding: chunked", body=b"zz\r\nabc\r\n0\r\n\r\n"),
    "a chunk size that overflows": post(b"transfer-encoding: chunked", body=b"ffffffffffffffffff\r\n"),
    "a negative chunk": post(b"transfer-encoding: chunked", body=b"-1\r\n\r\n"),
    "a chunk longer than it says": post(b"transfer-encoding: chunked", body=b"3\r\nabcdef\r\n0\r\n\r\n"),
    "garbage": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 100,
    "a line of nothing known": b"HELO penstock\r\n\r\n",
    "no version": b"POST /v1/chat/completions\r\nhost: x\r\n\r\n",
    "version 3": b"POST /v1/chat/completions HTTP/3.0\r\nhost: x\r\n\r\n",
    "HTTP/2 without asking": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a space in the target": b"POST /v1/chat completions HTTP/1.1\r\nhost: x\r\n\r\n",
    "a lower-case method": b"post /v1/chat/completions HTTP/1.1\r\nhost: x\r\n\r\n",
}


@pytest.mark.parametrize("bad", REFUSED)
async def test_what_is_not_well_formed_is_refused_and_the_connection_ends(site: Site, bad: str) -> None:
    """At most one answer, an error; nothing that follows is taken for a request; the next connection is clean."""
    async with Raw(site.url) as raw:
        raw.send(REFUSED[bad])
        answer = await raw.answer()
        received = await raw.end()
    assert received.count(b"HTTP/1.1 ") <= 1, received
    assert answer.status in {400, 404, 405, 413, 501, 505}, received
    assert answer.json()["error"]["message"]
    assert not site.first.requests
    await site.clean()


async def test_nothing_is_answered_twice_or_early_behind_a_good_request(site: Site) -> None:
    """A refusal waits for the answer before it: bad bytes cannot take the place of somebody's answer."""
    gate = site.first.hold(before=0)
    async with Raw(site.url) as raw:
        raw.send(post(LENGTH) + b"garbage garbage\r\n\r\n")
        await gate.reached()
        gate.open()
        first = await raw.answer()
        assert first.status == 200
        assert b"victim" in first.body
        rest = await raw.end()
    assert rest.count(b"HTTP/1.1 200") == 1
    await site.clean()


async def test_bare_line_feeds_are_refused_or_read_one_way(site: Site) -> None:
    """RFC 9112 lets a server take a bare LF as a line end; it must not then see two requests in one."""
    async with Raw(site.url) as raw:
        raw.send(post(LENGTH, line_end=b"\n"))
        answer = await raw.answer()
        raw.leave()
    assert answer.status in {200, 400}
    assert len(site.first.requests) == (answer.status == 200)
    await site.clean()


async def test_smuggling_by_a_bare_line_feed_in_chunks(site: Site) -> None:
    body = b"%x\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
    async with Raw(site.url) as raw:
        raw.send(post(b"transfer-encoding: chunked", body=body) + SMUGGLED)
        await raw.answer()
        raw.leave()
    for seen in site.first.requests:
        assert b"smuggled" not in seen.body
    await site.clean()


async def test_an_absolute_url_is_read_as_its_path(site: Site) -> None:
    """RFC 9112 3.2.2: a server accepts the absolute form, and it leads nowhere else."""
    async with Raw(site.url) as raw:
        raw.send(post(LENGTH, path=b"http://somewhere.else.example/v1/chat/completions"))
        answer = await raw.answer()
    assert answer.status in {200, 400, 404}
    assert all(seen.path == "/v1/chat/completions" for seen in site.first.requests)
    await site.clean()


@pytest.mark.parametrize(
    "target",
    [
        b"*",
        b"//v1/models",
        b"/%00",
        b"/\xff",
        b"/\xc3\xa9?\xff",
        b"http://",
        b"/v1/%2e%2e/stats",
        b"/" + b"a" * 3000,
        b"/?" + b"q" * 900,
    ],
)
async def test_odd_targets(site: Site, target: bytes) -> None:
    async with Raw(site.url) as raw:
        raw.send(b"GET " + target + b" HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        answer = await raw.answer()
    assert answer.status in {200, 307, 400, 404, 405}
    await site.clean()


async def test_connect_and_upgrade_lead_nowhere(site: Site) -> None:
    for head in (
        b"CONNECT example.org:443 HTTP/1.1\r\nhost: example.org\r\n\r\n",
        (
            b"GET /v1/realtime HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
            b"sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        ),
        (
            b"GET /v1/models HTTP/1.1\r\nhost: x\r\nconnection: upgrade, http2-settings\r\nupgrade: h2c\r\n"
            b"http2-settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n"
        ),
    ):
        async with Raw(site.url) as raw:
            raw.send(head)
            answer = await raw.answer()
        assert answer.status in {200, 400, 404, 405, 426, 501}
        assert answer.status != 101
        await site.clean()


async def test_a_header_cannot_write_headers(site: Site) -> None:
    """What we echo or pass on never breaks a line: CRLF, encoded or not, ends in nothing."""
    for value in ("a%0d%0ax-evil: 1", "a\\r\\nx-evil: 1", "a\u00a0b", "x" * 500):
        answer = await site.chat("m", f"x-request-id: {value}", f"traceparent: {value}", f"x-session-id: {value}")
        assert answer.status == 200
        assert answer.header("x-evil") is None
    for seen in site.first.requests:
        assert seen.header("x-evil") is None
    model = await site.chat("a\r\nx-evil: 1")
    assert model.status == 404
    assert model.header("x-evil") is None


async def test_a_model_name_cannot_be_a_page(site: Site) -> None:
    answer = await site.chat("<script>alert(1)</script>" * 400)
    assert answer.status == 404
    assert (answer.header("content-type") or "").startswith("application/json")
    assert len(answer.body) < 4096


async def test_heads_of_100_kb_are_refused(site: Site) -> None:
    heads = [
        [f"x-big: {'y' * 100_000}"],
        [f"x-{place}: {'y' * 100}" for place in range(1000)],
        [f"{'n' * 100_000}: 1"],
        [f"cookie: {'c' * 100_000}"],
    ]
    for lines in heads:
        async with Raw(site.url) as raw:
            raw.ask(PATH.decode(), {"model": "m", "messages": []}, *lines)
            answer = await raw.answer()
            assert answer.status == 431, lines[0][:40]
            assert str(HEAD_LIMIT) in answer.error
            await raw.end()
    async with Raw(site.url) as raw:
        raw.send(b"GET /" + b"u" * 100_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n")
        answer = await raw.answer()
        assert answer.status in {400, 414, 431}
        await raw.end()
    assert not site.first.requests
    await site.clean()


async def test_a_head_that_never_ends_is_given_up(site: Site) -> None:
    """Slow-loris: limits.head, whatever trickles in meanwhile."""
    async with Raw(site.url) as raw, asyncio.timeout(15):
        raw.send(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n")
        while not raw.closed:
            raw.send(b"x-a: b\r\n")
            ended = asyncio.ensure_future(raw.end())
            await asyncio.wait([ended], timeout=0.05)
            ended.cancel()
    await site.clean()


async def test_a_connection_that_says_nothing_is_given_up(site: Site) -> None:
    async with Raw(site.url) as raw:
        assert b" 200 " not in await raw.end()
    await site.clean()


async def test_many_half_open_clients_do_not_stop_the_others(site: Site) -> None:
    clients = [Raw(site.url) for _ in range(100)]
    for client in clients:
        await client.__aenter__()
        client.send(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n{")
    for _ in range(5):
        await site.clean()
    for client in clients:
        client.leave()
    await site.clean()


async def test_bytes_after_a_refusal_are_not_a_request(site: Site) -> None:
    """What follows a body that was refused unread is never read as the next request."""
    async with Raw(site.url) as raw:
        raw.send(request(PATH.decode(), b"", "content-length: 500000") + SMUGGLED + SMUGGLED)
        answer = await raw.answer()
        received = await raw.end()
    assert answer.status == 413
    assert received.count(b"HTTP/1.1 ") == 1
    assert not site.first.requests
    await site.clean()


async def test_a_body_on_a_get_is_not_the_next_request(site: Site) -> None:
    async with Raw(site.url) as raw:
        raw.send(b"GET /livez HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(SMUGGLED) + SMUGGLED)
        assert (await raw.answer()).status == 200
        raw.send(b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        await raw.end()
        assert raw.received.count(b"HTTP/1.1 200") == 2
    assert not site.first.requests
