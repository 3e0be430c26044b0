"""Row 18: answers whose head lies, or does not fit what was asked. None of them reaches the client as an answer."""

from __future__ import annotations

import json

from penstock.faults.breaking import before, came_whole, healthy, named
from penstock.faults.faces import CHAT, faces
from penstock.faults.scenario import Failed, Need, Scenario
from penstock.faults.script import Script
from penstock.faults.site import MODEL, WORDS, Site, answered

PAGE = "<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"
_POISON = "poison of another request"


def _raw(*headers: str, body: str, status: str = "200 OK") -> Script:
    return Script(raw="\r\n".join([f"HTTP/1.1 {status}", *headers, "", body]), close=True)


def _answer(text: str) -> str:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return json.dumps({"id": "x", "object": "chat.completion", "created": 1, "model": MODEL, "choices": [choice]})


def _chunked(text: str) -> str:
    return f"{len(text):x}\r\n{text}\r\n0\r\n\r\n"


_FORM = (
    b'--x\r\ncontent-disposition: form-data; name="model"\r\n\r\n%b\r\n'
    b'--x\r\ncontent-disposition: form-data; name="file"; filename="a.wav"\r\n\r\nRIFF\r\n--x--\r\n' % MODEL.encode()
)
_JSON = "content-type: application/json"
_LIES: dict[str, Script] = {
    "no number": _raw(_JSON, "content-length: many", body=_answer(WORDS)),
    "negative": _raw(_JSON, "content-length: -7", body=_answer(WORDS)),
    "two that differ": _raw(_JSON, "content-length: 9", "content-length: 400", body=_answer(WORDS)),
    "too small": _raw(_JSON, "content-length: 40", body=_answer(WORDS)),
    "too large": _raw(_JSON, "content-length: 9999", body=_answer(WORDS)),
    "beside chunks": _raw(_JSON, "content-length: 9", "transfer-encoding: chunked", body=_chunked(_answer(WORDS))),
    "behind chunks": _raw(_JSON, "transfer-encoding: chunked", "content-length: 9", body=_chunked(_answer(WORDS))),
    "chunks of no size": _raw(_JSON, "transfer-encoding: chunked", body=f"many\r\n{_answer(WORDS)}\r\n0\r\n\r\n"),
    "another coding": _raw(_JSON, "transfer-encoding: gzip, chunked", body=_chunked("\x1f\x8b\x08")),
    "a folded header": _raw(_JSON, "x: a\r\n transfer-encoding: chunked", "content-length: 9", body=_answer(WORDS)),
    "not HTTP": Script(raw="SSH-2.0-OpenSSH_9.6\r\n", close=True),
    "an endless head": Script(raw="HTTP/1.1 200 OK\r\nx: " + "a" * 200_000, close=True),
    "a part": _raw(_JSON, "content-length: 4", status="206 Partial Content", body="{}  "),
    "a redirect": _raw("location: http://127.0.0.1:1/", "content-length: 0", status="302 Found", body=""),
}


async def page(site: Site) -> None:
    """A proxy's HTML page with status 200, named so or as what was asked for: B answers, streamed and whole."""
    count = 0
    for kind in ("text/html", "application/json", "text/event-stream"):
        for stream in (True, False):
            with named(f"{kind}, {'streamed' if stream else 'whole'}"):
                async for face, seen in before(
                    site, site.a, Script(body=PAGE, content_type=kind), faces(site), stream=stream
                ):
                    count += 1
                    came_whole(face, seen, by=site.b)
    await site.counted("penstock_fallback_total", count, {"from": "a", "to": "b", "reason": "broken"})
    await site.logged(event="request", backend="b", fallback="broken", outcome="answered")


async def content_type(site: Site) -> None:
    """A true answer under a content type that belongs to something else: B answers rather than that anybody guesses."""
    count = 0
    for stream in (True, False):
        async for face, seen in before(site, site.a, Script(content_type="text/plain"), faces(site), stream=stream):
            count += 1
            came_whole(face, seen, by=site.b)
    await site.counted("penstock_fallback_total", count, {"from": "a", "to": "b", "reason": "broken"})
    await site.logged(event="request", backend="b", fallback="broken", outcome="answered")


async def compressed(site: Site) -> None:
    """A body that is compressed though nobody asked for it: the whole answer in plain bytes, from A or B."""
    for stream in (True, False):
        async for face, seen in before(site, site.a, Script(gzip=True), faces(site), stream=stream):
            came_whole(face, seen)
            if seen.headers.get("content-encoding", "identity") != "identity":
                raise Failed(f"{face.name}: an answer that is not compressed was expected")
    await site.logged(event="request", backend="b", fallback="broken", outcome="answered")


async def lengths(site: Site) -> None:
    """A `content-length` that is wrong, doubled or beside chunks, chunks that are none, heads without end: B answers."""
    for what, script in _LIES.items():
        with named(what):
            async for face, seen in before(site, site.a, script, [CHAT], stream=False):
                came_whole(face, seen, by=site.b)
    await site.counted("penstock_fallback_total", len(_LIES), {"from": "a", "to": "b"})
    await site.logged(event="request", backend="b", fallback="broken", outcome="answered")


async def smuggled(site: Site) -> None:
    """A second answer hidden behind the first one: it is never given to the next request, whoever sends that."""
    poison = _answer(_POISON)
    hidden = f"HTTP/1.1 200 OK\r\n{_JSON}\r\ncontent-length: {len(poison)}\r\n\r\n{poison}"
    good = _answer(WORDS)
    for body, length in ((good, len(good)), (good, 2), ("{}", 2)):
        head = f"HTTP/1.1 200 OK\r\n{_JSON}\r\ncontent-length: {length}\r\n\r\n"
        await healthy(site, site.a)
        site.a.next.append(Script(raw=head + body + hidden))
        first = await site.ask(stream=False)
        if _POISON in first.text:
            raise Failed(f"an answer without what was hidden behind it was expected, seen {first}")
        for stream in (False, True, False):
            answered(await site.ask(stream=stream))
    await site.logged(event="request", backend="a", outcome="answered")


async def sound(site: Site) -> None:
    """A transcript that ends with its connection, with nothing to say how long it is: an error, for it might be half of it."""
    async with site.penstock() as own:
        site.a.script = site.b.script = _raw("content-type: text/vtt", body="WEBVTT half of what was sa")
        kind = {"content-type": "multipart/form-data; boundary=x"}
        seen = await own.ask(stream=False, path="/v1/audio/transcriptions", body=_FORM, headers=kind)
        if seen.status != 502 or not seen.error:
            raise Failed(f"an explicit error was expected, seen {seen}")
        await own.counted("penstock_attempts_failed_total", 1, {"backend": "b", "reason": "broken"})
        await own.logged(event="request", outcome="refused", status=502)


SCENARIOS = (
    Scenario(18, "page", page),
    Scenario(18, "content-type", content_type),
    Scenario(18, "compressed", compressed),
    Scenario(18, "lengths", lengths),
    Scenario(18, "smuggled", smuggled),
    Scenario(18, "sound", sound, frozenset({Need.PENSTOCK}), own=True),
)
