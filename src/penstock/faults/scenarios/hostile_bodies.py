"""Row 22: bodies that are huge, deep, compressed or no JSON: refused in the client's protocol or answered, never more."""

from __future__ import annotations

import asyncio
import json
import zlib

from penstock.faults.bare import Bare
from penstock.faults.condition import Model
from penstock.faults.memory import held
from penstock.faults.scenario import Failed, Need, Scenario
from penstock.faults.seen import Outcome, request
from penstock.faults.site import PATHS, WORDS, Site, answered

DEEP = 100_000
MEGABYTE = 1024 * 1024
_CHAT = {"model": "m", "messages": [{"role": "user", "content": WORDS}]}
_MESSAGES = b'"messages": [{"role": "user", "content": "x"}]'

BODIES: dict[str, bytes] = {
    "empty": b"",
    "no JSON": b"hello",
    "cut": b'{"model": "m", "messages": [',
    "an array": b'[{"model": "m"}]',
    "two documents": b'{"model": "m", "messages": []} {}',
    "100,000 arrays deep": b'{"model": "m", "messages": ' + b"[" * DEEP + b"]" * DEEP + b"}",
    "100,000 objects deep": b'{"model": "m", "messages": ' + b'{"a":' * DEEP + b"1" + b"}" * DEEP + b"}",
    "100,000 deep in a member that nobody knows": b'{"model": "m", "x": ' + b"[" * DEEP + b"]" * DEEP + b", " + _MESSAGES + b"}",
    "100,000 deep and never closed": b'{"model": "m", "x": ' + b"[" * DEEP,
    "two models": b'{"model": "m", ' + _MESSAGES + b', "model": "other"}',
    "two models, one escaped": b'{"model": "m", ' + _MESSAGES + b', "mod\\u0065l": "other"}',
    "two messages": b'{"model": "m", ' + _MESSAGES + b', "messages": "no list"}',
    "NaN": b'{"model": "m", "temperature": NaN, ' + _MESSAGES + b"}",
    "Infinity": b'{"model": "m", "temperature": -Infinity, ' + _MESSAGES + b"}",
    "a number of 100,000 digits": b'{"model": "m", "seed": ' + b"9" * DEEP + b", " + _MESSAGES + b"}",
    "a number beyond all": b'{"model": "m", "temperature": 1e999999, ' + _MESSAGES + b"}",
    "invalid UTF-8": b'{"model": "m", "messages": [{"role": "user", "content": "\xff\xfe"}]}',
    "cut UTF-8": b'{"model": "m", "messages": [{"role": "user", "content": "\xe2\x82"}]}',
    "a surrogate in UTF-8": b'{"model": "m", "messages": [{"role": "user", "content": "\xed\xa0\x80"}]}',
    "a lone surrogate, escaped": b'{"model": "m", "messages": [{"role": "user", "content": "x \\ud83d y"}]}',
    "UTF-16": '{"model": "m", "messages": []}'.encode("utf-16"),
    "NUL": b'{"model": "m", ' + _MESSAGES + b"}\x00",
    "a name of a megabyte": b'{"model": "m", "' + b"n" * MEGABYTE + b'": 1, ' + _MESSAGES + b"}",
    "a model of a megabyte": b'{"model": "' + b"m" * MEGABYTE + b'", ' + _MESSAGES + b"}",
}  # fmt: skip


async def odd(site: Site) -> None:
    """Deep, doubled, cut and odd JSON: a readable 4xx or a whole answer, never 5xx or silence; the next request is served."""
    for face in ("openai", "ollama") if site.ours else ("openai",):
        for name, body in BODIES.items():
            # Ollama's requests are streamed unless they say otherwise
            seen = await site.ask(stream=face == "ollama", face=face, body=body)
            readable = seen.outcome is Outcome.REFUSED and seen.status < 500 and seen.error
            if not readable and seen.outcome is not Outcome.ANSWERED:
                raise Failed(f"{name} to be refused with a readable 4xx or answered was expected, seen: {seen}")
            if len(seen.body) > 64 * 1024:
                raise Failed(f"{name}: a short refusal was expected, seen {len(seen.body)} bytes")
    answered(await site.ask())
    await site.counted("penstock_refused_total", len(BODIES), {"code": "invalid_request"}, at_least=True)


async def huge(site: Site) -> None:
    """A body of 10 GB, announced or endless: refused before it is taken; memory stays within the limit of one body."""
    before = held(site.process.pid)
    async with Bare(site.url) as bare:
        head = {"content-length": str(10 * 1024**3), "content-type": "application/json"}
        await bare.send(request(PATHS["openai"], b"", head))
        seen = await bare.answers(1)
        if [status for status, _ in seen] != [413]:
            raise Failed(f"413 for ten announced gigabytes was expected, seen {seen}")
    sent = most = 0
    async with Bare(site.url) as bare:
        await bare.send(
            request(PATHS["openai"], b"", {"transfer-encoding": "chunked", "content-type": "application/json"})
        )
        piece = b"%x\r\n%b\r\n" % (MEGABYTE, b" " * MEGABYTE)
        while sent < 200 and await bare.send(piece) and not bare.ended:
            sent += 1
            most = max(most, held(site.process.pid) - before)
    site.notes.append(f"ended after {sent} of 200 MB, {most / 1e6:.0f} MB held")
    if sent >= 200:
        raise Failed("an end before 200 MB were taken was expected")
    answered(await site.ask())
    await site.counted("penstock_refused_total", 2, {"code": "body_too_large"})


async def bomb(site: Site) -> None:
    """100 MB of JSON in 100 KB of gzip: refused or answered, and never unpacked without a bound."""
    packed = await asyncio.to_thread(_packed)
    before = held(site.process.pid)
    for encoding in ("gzip", "x-gzip, gzip", "br"):
        seen = await site.ask(stream=False, body=packed, headers={"content-encoding": encoding})
        if seen.outcome is not Outcome.ANSWERED and not (
            seen.outcome is Outcome.REFUSED and seen.status < 500 and seen.error
        ):
            raise Failed(f"a readable 4xx or an answer was expected, seen: {seen}")
        if site.ours and seen.status != 415:
            raise Failed(f"415 was expected, seen: {seen}")
    grown = held(site.process.pid) - before
    site.notes.append(f"status {seen.status}, {grown / 1e6:+.1f} MB")
    if grown > 50 * MEGABYTE:
        raise Failed(f"less than 50 MB more memory was expected, seen {grown / 1e6:.0f}")
    answered(await site.ask(headers={"content-encoding": "identity"} if site.ours else None))
    await site.counted("penstock_refused_total", 3, {"code": "unsupported_encoding"})


def _packed() -> bytes:
    head, end = json.dumps({**_CHAT, "padding": "|"}).split("|")
    packing = zlib.compressobj(1, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    parts = [packing.compress(head.encode()), *(packing.compress(b"x" * MEGABYTE) for _ in range(100))]
    return b"".join([*parts, packing.compress(end.encode()), packing.flush()])


async def expected(site: Site) -> None:
    """Expect: 100-continue with a length and in chunks: told to go on, then answered; not told so where it is refused."""
    body = json.dumps(_CHAT).encode()
    for framing, sent in (
        ({"content-length": str(len(body))}, body),
        ({"transfer-encoding": "chunked"}, b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)),
    ):
        async with Bare(site.url) as bare:
            kind = {"expect": "100-continue", "content-type": "application/json"}
            await bare.send(request(PATHS["openai"], b"", {**framing, **kind}))
            await bare.end(limit=0.5)
            if not bare.received.startswith(b"HTTP/1.1 100"):
                raise Failed(f"100 Continue was expected, seen {bytes(bare.received)!r}")
            await bare.send(sent)
            seen = await bare.answers(1)
            if not seen or seen[0][0] != 200 or WORDS.encode() not in seen[0][1]:
                raise Failed(f"the answer after 100 Continue was expected, seen {seen}")
    async with Bare(site.url) as bare:
        await bare.send(request(PATHS["openai"], b"", {"content-length": str(10 * 1024**3), "expect": "100-continue"}))
        await bare.answers(1)
        if not bare.received.startswith(b"HTTP/1.1 4"):
            raise Failed(f"a refusal instead of 100 Continue was expected, seen {bytes(bare.received)!r}")


async def long_prompt(site: Site) -> None:
    """A prompt of 100,000 tokens and a picture of 5 MB reach the engine byte for byte, and a small request beside them is answered."""
    site.a.models["m"] = Model("m", 1_000_000)
    prompt = "water " * 100_000
    picture = "data:image/png;base64," + "iVBORw0KGgo" * (5 * MEGABYTE // 11)
    parts = [{"type": "text", "text": WORDS}, {"type": "image_url", "image_url": {"url": picture}}]
    long = site.asking(stream=False, words=prompt, body={"max_tokens": 5})
    small = await site.ask()
    answered(small)
    answered(await long.seen(), text=None)
    answered(await site.ask(stream=False, body={"messages": [{"role": "user", "content": parts}]}), text=None)
    bodies = [one.body for one in site.a.requests]
    if not any(prompt.encode() in body for body in bodies) or not any(picture.encode() in body for body in bodies):
        raise Failed("prompt and picture to reach the engine whole was expected")
    await site.logged(event="request", status=200)


SCENARIOS = (
    Scenario(22, "odd-json", odd),
    Scenario(22, "huge", huge, frozenset({Need.PROCESS}), alone=True),
    Scenario(22, "gzip-bomb", bomb, frozenset({Need.PROCESS})),
    Scenario(22, "expect", expected),
    Scenario(22, "long-prompt", long_prompt),
)
