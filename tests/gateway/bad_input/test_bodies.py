"""Bodies that are not what they should be: each gets the right status, a readable error, and harms nobody after it."""

from __future__ import annotations

import asyncio
import json
import zlib

import pytest
from tests.fakes.raw import Answer, Raw, request
from tests.gateway.site import BODY_LIMIT, SHARED, Site

pytestmark = SHARED

FACES = {"openai": "/v1/chat/completions", "anthropic": "/v1/messages", "ollama": "/api/chat"}
every_face = pytest.mark.parametrize("face", FACES)

BAD_JSON: dict[str, bytes] = {
    "empty": b"",
    "spaces": b"  \r\n ",
    "not json": b"hello",
    "cut": b'{"model": "m", "messages": [',
    "cut in a string": b'{"model": "m',
    "two documents": b'{"model": "m", "messages": []} {}',
    "trailing comma": b'{"model": "m", "messages": [],}',
    "single quotes": b"{'model': 'm'}",
    "array": b'[{"model": "m"}]',
    "string": b'"m"',
    "null": b"null",
    "invalid UTF-8 in a value": b'{"model": "m", "messages": [{"role": "user", "content": "\xff\xfe"}]}',
    "invalid UTF-8 in a key": b'{"model": "m", "\xff": 1, "messages": []}',
    "cut UTF-8": b'{"model": "m", "messages": [{"role": "user", "content": "\xe2\x82"}]}',
    "overlong UTF-8": b'{"model": "m", "messages": [{"role": "user", "content": "\xc0\xaf"}]}',
    "surrogate in UTF-8": b'{"model": "m", "messages": [{"role": "user", "content": "\xed\xa0\x80"}]}',
    "UTF-16": '{"model": "m", "messages": []}'.encode("utf-16"),
    "NaN": b'{"model": "m", "messages": [], "temperature": NaN}',
    "Infinity": b'{"model": "m", "messages": [], "temperature": -Infinity}',
    "control character": b'{"model": "m", "messages": [{"role": "user", "content": "a\nb"}]}',
    "NUL": b'{"model": "m", "messages": []}\x00',
    "two models": b'{"model": "m", "messages": [], "model": "m2"}',
    "two models, one escaped": b'{"model": "m", "messages": [], "mod\\u0065l": "m2"}',
    "two streams": b'{"model": "m", "stream": false, "messages": [], "stream": true}',
    "model is a number": b'{"model": 7, "messages": []}',
    "stream is a word": b'{"model": "m", "messages": [], "stream": "yes"}',
    "deep array": b'{"model": "m", "messages": ' + b"[" * 20_000 + b"]" * 20_000 + b"}",
    "deep object": b'{"model": "m", "messages": ' + b'{"a":' * 10_000 + b"1" + b"}" * 10_000 + b"}",
    "deep and never closed": b'{"model": "m", "x": ' + b"[" * 30_000,
}


def assert_readable(answer: Answer, face: str) -> None:
    """The protocol's own error shape, with a sentence a person can act on."""
    body = answer.json()
    if face == "ollama":
        assert body.keys() == {"error"}
    elif face == "anthropic":
        assert body.keys() == {"type", "error"}
    else:
        assert body["error"].keys() == {"message", "type", "param", "code"}
    assert len(answer.error) >= 15
    assert "Traceback" not in answer.error
    assert "penstock." not in answer.error


@every_face
@pytest.mark.parametrize("bad", BAD_JSON)
async def test_bad_json(site: Site, bad: str, face: str) -> None:
    """400, never the engine's business, and the same connection serves the next request."""
    async with Raw(site.url) as raw:
        raw.ask(FACES[face], BAD_JSON[bad])
        answer = await raw.answer()
        assert answer.status == 400, answer.body
        assert_readable(answer, face)
        assert not site.first.requests
        assert answer.keep_alive
        raw.ask("/v1/chat/completions", {"model": "m", "messages": [{"role": "user", "content": "clean"}]})
        after = await raw.answer()
        assert after.json()["choices"][0]["message"]["content"] == "clean"


async def test_a_wrong_type_names_its_field(site: Site) -> None:
    answer = await site.post("/v1/chat/completions", b'{"model": ["m"], "messages": []}')
    assert answer.json()["error"]["param"] == "model"
    ollama = await site.post("/api/chat", {"model": "m", "messages": "no"})
    assert ollama.status == 400
    assert "messages" in ollama.error


@pytest.mark.parametrize(
    "text", ["\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16"), "\u0000", "\u2028"]
)
async def test_odd_and_legal_text_passes(site: Site, text: str) -> None:
    answer = await site.post(
        "/v1/chat/completions", {"model": "m", "messages": [{"role": "user", "content": f"a{text}b"}]}
    )
    assert answer.status == 200
    assert answer.json()["choices"][0]["message"]["content"] == f"a{text}b"


@every_face
async def test_a_lone_surrogate_crashes_nothing(site: Site, face: str) -> None:
    body = b'{"model": "m", "max_tokens": 9, "stream": false, "messages": [{"role": "user", "content": "x \\ud83d y"}]}'
    answer = await site.post(FACES[face], body)
    assert answer.status in {200, 400}
    await site.clean()


@pytest.mark.parametrize(
    "form",
    [
        b"",
        b"--b",
        b"--b\r\n\r\n--b--",
        b'--b\r\ncontent-disposition: form-data; name="model"\r\n\r\nm',
        b'--b\r\ncontent-disposition: form-data; name="model"\r\n\r\nnone such\r\n--b--\r\n',
        b"\x00" * 500,
        b"--b\r\ncontent-disposition: form-data; name=" + b"x" * 5000,
    ],
)
@pytest.mark.parametrize(
    "kind",
    ["multipart/form-data; boundary=b", "multipart/form-data", "application/json", "multipart/form-data; boundary="],
)
async def test_bad_forms(site: Site, form: bytes, kind: str) -> None:
    answer = await site.post("/v1/audio/transcriptions", form, f"content-type: {kind}")
    assert answer.status in {400, 404}
    assert_readable(answer, "openai")
    assert not site.first.requests
    await site.clean()


@every_face
async def test_a_body_at_the_limit_passes_and_one_more_byte_does_not(site: Site, face: str) -> None:
    stem = {"model": "m", "max_tokens": 5, "stream": False, "messages": [{"role": "user", "content": "hi"}], "pad": ""}
    room = BODY_LIMIT - len(json.dumps(stem))
    exact = json.dumps({**stem, "pad": "x" * room}).encode()
    assert len(exact) == BODY_LIMIT
    assert (await site.post(FACES[face], exact)).status == 200
    over = await site.post(FACES[face], exact + b" ")
    assert over.status == 413
    assert_readable(over, face)
    await site.clean()


@every_face
async def test_a_refused_body_that_keeps_coming_is_not_read(site: Site, face: str) -> None:
    """The answer arrives though the client never stops sending; the connection ends."""
    async with Raw(site.url) as raw:
        raw.send(request(FACES[face], b"", "content-length: 1000000000"))
        raw.send(b'{"model": "m", "messages": "' + b"x" * 200_000)
        answer = await raw.answer()
        assert answer.status in {0, 413}
        if answer.status:
            assert_readable(answer, face)
        await raw.end()
    await site.clean()


@every_face
async def test_a_body_that_stops_halfway_is_given_up(site: Site, face: str) -> None:
    """limits.upload: the connection ends, nobody is asked, nothing is left behind."""
    async with Raw(site.url) as raw:
        raw.send(request(FACES[face], b"", "content-length: 100") + b'{"model": "m"')
        received = await raw.end()
        assert b" 200 " not in received
    assert not site.first.requests
    await site.clean()


@every_face
async def test_a_client_that_leaves_in_the_middle_of_its_body(site: Site, face: str) -> None:
    async with Raw(site.url) as raw:
        raw.send(request(FACES[face], b"", "content-length: 100") + b'{"model": "m"')
        await asyncio.sleep(0)
    await site.clean()
    assert [seen.path for seen in site.first.requests] == ["/v1/chat/completions"]


@pytest.mark.parametrize("path", ["/api/show", "/api/pull", "/v1/models", "/livez", "/nothing"])
async def test_bodies_where_none_belong(site: Site, path: str) -> None:
    for body in (b"\xff\xff", b"{", b"[" * 50_000):
        answer = await site.post(path, body)
        assert 400 <= answer.status < 502
        assert answer.complete
    await site.clean()


@every_face
@pytest.mark.parametrize("coding", ["gzip", "x-gzip, gzip", "br", "zstd"])
async def test_a_compressed_body_is_refused_unread(site: Site, face: str, coding: str) -> None:
    """What it unpacks to has no bound that its sender does not choose."""
    packed = zlib.compress(b" " * 1_000_000)
    answer = await site.post(FACES[face], packed, f"content-encoding: {coding}")
    assert answer.status == 415
    assert_readable(answer, face)
    assert "content-encoding" in answer.error
    body = {"model": "m", "max_tokens": 5, "stream": False, "messages": [{"role": "user", "content": "hi"}]}
    assert (await site.post(FACES[face], body, "content-encoding: identity")).status == 200
    assert len(site.first.requests) == 1
    await site.clean()
