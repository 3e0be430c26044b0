"""Row 23: heads that are too large, that two readers could understand in two ways, or that would write into others."""

from __future__ import annotations

import hashlib
import json

from penstock.faults.bare import Bare
from penstock.faults.scenario import Failed, Need, Scenario
from penstock.faults.seen import Outcome, request
from penstock.faults.site import PATHS, Site, answered

LARGE = 100_000
PATH = PATHS["openai"].encode()
BODY = json.dumps({"model": "m", "messages": [{"role": "user", "content": "victim"}]}).encode()
SMUGGLED = json.dumps({"model": "m", "messages": [{"role": "user", "content": "smuggled"}]}).encode()
HIDDEN = (
    b"POST "
    + PATH
    + b" HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
    % (
        len(SMUGGLED),
        SMUGGLED,
    )
)
_LENGTH = b"content-length: %d" % len(BODY)
_CHUNKS = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
_CHUNKED = b"transfer-encoding: chunked"


def _post(*lines: bytes, body: bytes = BODY, end: bytes = b"\r\n") -> bytes:
    head = [b"POST " + PATH + b" HTTP/1.1", b"host: gateway.test", b"content-type: application/json", *lines]
    return end.join([*head, b"", b""]) + body


AMBIGUOUS: dict[str, bytes] = {
    "CL and TE": _post(b"content-length: 5", _CHUNKED, body=b"0\r\n\r\n") + HIDDEN,
    "TE and CL": _post(_CHUNKED, b"content-length: 3", body=_CHUNKS) + HIDDEN,
    "two lengths": _post(_LENGTH, b"content-length: 3") + HIDDEN,
    "two lengths in one": _post(b"content-length: 3, %d" % len(BODY)) + HIDDEN,
    "a length with a sign": _post(b"content-length: +%d" % len(BODY)) + HIDDEN,
    "a negative length": _post(b"content-length: -1") + HIDDEN,
    "a length in hex": _post(b"content-length: 0x10") + HIDDEN,
    "a huge length": _post(b"content-length: 99999999999999999999999999") + HIDDEN,
    "an unknown coding": _post(b"transfer-encoding: xchunked", _LENGTH) + HIDDEN,
    "a coding after chunked": _post(b"transfer-encoding: chunked, identity", body=_CHUNKS) + HIDDEN,
    "a space before the colon": _post(b"content-length : 3", _LENGTH) + HIDDEN,
    "a folded header": _post(_LENGTH, b"x-a: b\r\n transfer-encoding: chunked") + HIDDEN,
    "line feeds alone": _post(b"content-length: 0", b"x-a: b\n\nx: y", body=b"", end=b"\n") + HIDDEN,
    "a chunk size that is none": _post(_CHUNKED, body=b"zz\r\nabc\r\n0\r\n\r\n") + HIDDEN,
    "a chunk size that overflows": _post(_CHUNKED, body=b"ffffffffffffffffff\r\n") + HIDDEN,
    "a negative chunk": _post(_CHUNKED, body=b"-1\r\n\r\n") + HIDDEN,
    "a chunk longer than it says": _post(_CHUNKED, body=b"3\r\nabcdef\r\n0\r\n\r\n") + HIDDEN,
    "a chunk ended by a line feed": _post(_CHUNKED, body=b"%x\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)) + HIDDEN,
    "a NUL in a value": _post(_LENGTH, b"x-a: b\x00c") + HIDDEN,
    "a header without a colon": _post(_LENGTH, b"oops") + HIDDEN,
}


async def ambiguous(site: Site) -> None:
    """Heads and chunks that can be read in two ways: what is hidden behind them is no request of anybody else's answer."""
    for name, wire in AMBIGUOUS.items():
        async with Bare(site.url) as bare:
            await bare.send(wire)
            seen = await bare.answers(2, limit=2.0)
        # One reading of such bytes is a good request and another one behind it; then both are answered and nothing hides.
        refused = [status for status, _ in seen if status >= 400]
        good = [body for status, body in seen if status == 200]
        hidden = sum(b"smuggled" in one.body for one in site.a.requests)
        whole = len(good) == 2 and b"victim" in good[0] and b"smuggled" in good[1]
        if hidden and not whole:
            raise Failed(f"{name}: no hidden request at the engine was expected, seen {hidden} and answers {seen}")
        if not refused and not bare.closed and not whole:
            raise Failed(f"{name}: a refusal or an end of the connection was expected, seen {bytes(bare.received)!r}")
        if site.ours and (len(seen) != 1 or not refused):
            raise Failed(f"{name}: one refusal was expected, seen {seen}")
        site.a.requests.clear()
    answered(await site.ask())
    await site.counted("penstock_refused_total", len(AMBIGUOUS), {"code": "invalid_request"})


async def large(site: Site) -> None:
    """Heads of 100 KB, in one line, a thousand, or the target: an error status, and others are answered."""
    heads = {
        "one line": _post(b"x-big: " + b"y" * LARGE, _LENGTH),
        "a thousand lines": _post(*(b"x-%d: %b" % (place, b"y" * 100) for place in range(1000)), _LENGTH),
        "a name": _post(b"n" * LARGE + b": 1", _LENGTH),
        "cookies": _post(*([b"cookie: " + b"c" * 4000] * 25), _LENGTH),
        "a target": b"GET /" + b"u" * LARGE + b" HTTP/1.1\r\nhost: x\r\n\r\n",
    }
    for name, wire in heads.items():
        async with Bare(site.url) as bare:
            await bare.send(wire)
            seen = await bare.answers(1)
        status = seen[0][0] if seen else 0
        if not 400 <= status < 500 and not (status == 200 and name != "a target"):
            raise Failed(f"{name}: a 4xx was expected, seen {bytes(bare.received[:300])!r}")
        if site.ours and status != 431:
            raise Failed(f"{name}: 431 was expected, seen {status}")
    answered(await site.ask())
    await site.counted("penstock_refused_total", len(heads), {"code": "headers_too_large"})


async def hop_by_hop(site: Site) -> None:
    """What belongs to the client's connection ends there: none of it, and nothing that it names, reaches the engine."""
    said = {
        "connection": "close, x-secret, authorization", "x-secret": "1", "authorization": "Bearer sk-a-clients-own",
        "proxy-authorization": "Basic eDp5", "keep-alive": "timeout=5", "te": "trailers", "trailer": "x-late",
        "proxy-connection": "keep-alive",
    }  # fmt: skip
    answered(await site.ask(headers=said), by=site.a)
    sent = {name for name, _ in site.a.requests[0].headers}
    leaked = sent & {"x-secret", "authorization", "proxy-authorization", "te", "keep-alive", "proxy-connection"}
    if leaked:
        raise Failed(f"no hop-by-hop header at the engine was expected, seen {sorted(leaked)}")
    if not site.ours:
        return
    forged = {
        "x-forwarded-for": "10.0.0.1", "x-forwarded-host": "evil.test", "x-forwarded-proto": "https", "x-real-ip": "10.0.0.1",
        "forwarded": "for=10.0.0.1", "x-original-url": "/metrics", "cookie": "a=b", "x-penstock-backend": "b", "x-api-key": "sk-x",
    }  # fmt: skip
    seen = answered(await site.ask(headers=forged), by=site.a)
    passed = {name for name, _ in site.a.requests[1].headers} & set(forged)
    if passed or seen.headers.get("x-penstock-backend") != "a":
        raise Failed(f"no forged header to be passed on or believed was expected, seen {sorted(passed)}")
    await site.logged(event="request", backend="a", caller="local")


async def keys(site: Site) -> None:
    """`Connection: close, authorization` takes no key away, brings none, and no key reaches an engine."""
    digest = hashlib.sha256(b"sk-right").hexdigest()
    async with site.penstock({"callers": {"one": {"tenant": "one", "key_sha256": digest}}}) as own:
        tricks = {"connection": "close, authorization, x-api-key"}
        answered(await own.ask(headers={**tricks, "authorization": "Bearer sk-right"}), by=own.a)
        for wrong in ({}, {"authorization": "Bearer sk-wrong"}, {"authorization": "Basic c2stcmlnaHQ="}):
            seen = await own.ask(headers={**tricks, **wrong})
            if seen.outcome is not Outcome.REFUSED or seen.status != 401:
                raise Failed(f"401 was expected, seen: {seen}")
        if any(name == "authorization" for one in own.a.requests for name, _ in one.headers):
            raise Failed("no key at the engine was expected, seen one")
        if "sk-" in own.process.errors.read_text():
            raise Failed("no key in the log was expected, seen one")
        await own.counted("penstock_refused_total", 3, {"code": "invalid_api_key"})


async def line_breaks(site: Site) -> None:
    """Line breaks in values, raw and encoded, write no header, neither to the client nor to the engine."""
    for value in ("a%0d%0ax-evil: 1", "a\\r\\nx-evil: 1", "a\u00a0b", "x" * 500):
        seen = await site.ask(headers={"x-request-id": value, "traceparent": value, "x-session-id": value})
        answered(seen)
        _unwritten(site, seen.headers)
    for raw in (b"x-request-id: a\rx-evil: 1", b"x-request-id: a\nx-evil: 1", b"x-session-id: a\r x-evil: 1"):
        async with Bare(site.url) as bare:
            await bare.send(_post(raw, _LENGTH))
            await bare.answers(1, limit=3.0)
        head = bytes(bare.received).partition(b"\r\n\r\n")[0].lower()
        if b"\nx-evil" in head:
            raise Failed(f"no header of the client's making was expected, seen {head!r}")
    model = await site.ask(body={"model": "m\r\nx-evil: 1"})
    _unwritten(site, model.headers)
    if model.outcome is not Outcome.REFUSED or model.status >= 500:
        raise Failed(f"a 4xx for a model that nobody has was expected, seen: {model}")
    answered(await site.ask())
    await site.counted("penstock_refused_total", 1, {"code": "model_not_found"})


def _unwritten(site: Site, headers: object) -> None:
    sent = [one.header("x-evil") for one in site.a.requests]
    # a bare LF may be read as the end of a line; then x-evil is a header that the client itself has sent to us
    if "x-evil" in str(headers).lower() or (site.ours and any(sent)):
        raise Failed(f"no header of the client's making was expected, seen {headers} and {sent}")


async def pipelined(site: Site) -> None:
    """Eight requests in one segment: answers in order, each its own, or fewer and an end; never mixed."""
    wire = b"".join(
        request(PATH.decode(), {"model": "m", "messages": [{"role": "user", "content": f"number{place}"}]}, close=False)
        for place in range(8)
    )
    async with Bare(site.url) as bare:
        await bare.send(wire)
        seen = await bare.answers(8)
    texts = [json.loads(body)["choices"][0]["message"]["content"] for status, body in seen if status == 200]
    if texts != [f"number{place}" for place in range(len(texts))] or not texts:
        raise Failed(f"answers in order, each its own, were expected, seen {texts}")
    if len(seen) < 8 and not bare.closed:
        raise Failed(f"eight answers or an end were expected, seen {len(seen)} and an open connection")
    await site.logged(event="request", status=200)


SCENARIOS = (
    Scenario(23, "ambiguous", ambiguous),
    Scenario(23, "large", large),
    Scenario(23, "hop-by-hop", hop_by_hop),
    Scenario(23, "keys", keys, frozenset({Need.PROCESS, Need.PENSTOCK}), own=True),
    Scenario(23, "line-breaks", line_breaks),
    Scenario(23, "pipelined", pipelined),
)
