"""Row 24: keys that nobody has, in a flood; keys that are revoked, expire, or cannot be looked up; tokens of a wrong clock."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ed25519

from penstock.faults.bare import Bare
from penstock.faults.gateways import free_port
from penstock.faults.memory import held
from penstock.faults.scenario import Failed, Need, Scenario
from penstock.faults.seen import Outcome, Seen, request
from penstock.faults.site import MODEL, PATHS, Site, answered

GUESSES, AT_ONCE = 600, 10
GROWTH = 2 * 1024 * 1024
CONNECTIONS = 12
ISSUER, AUDIENCE = "https://idp.example", "penstock"
_OWN = frozenset({Need.PROCESS, Need.PENSTOCK})


async def flood(site: Site) -> None:
    """Hundreds of made-up keys and tokens: 401 each, nothing grows, nothing is logged, and who has a key is served meanwhile."""
    async with _issued(site) as (own, private):
        key = await key_of(own, "ann")
        await asyncio.gather(*(_guess(own, 10) for _ in range(AT_ONCE)))
        before, lines = held(own.process.pid), len(own.records())
        guessing = asyncio.gather(*(_guess(own, GUESSES // AT_ONCE) for _ in range(AT_ONCE)))
        served = 0
        while not guessing.done():
            for shown in (key, _token(private)):
                answered(await own.ask(stream=False, headers=_shown(shown)), by=own.a)
                served += 1
        await guessing
        if (grown := held(own.process.pid) - before) > GROWTH:
            raise Failed(f"no memory of guesses was expected, seen {grown} bytes more")
        if len(own.records()) - lines > served + 5:
            raise Failed(f"{served} records were expected, seen {len(own.records()) - lines}")
        await own.counted("penstock_refused_total", GUESSES + 10 * AT_ONCE, {"code": "invalid_api_key"})


async def revoked(site: Site) -> None:
    """A key is revoked: the very next request with it is 401 on every connection to every worker, and none reaches an engine."""
    changes = {"workers": 2, "listen": [f"127.0.0.1:{free_port()}"], "auth": {"keys": "always"}}
    async with site.penstock(changes) as own, AsyncExitStack() as life:
        await _workers(own, 2)
        key, other = await key_of(own, "ann"), await key_of(own, "bob")
        open_ = [await life.enter_async_context(Bare(own.url)) for _ in range(CONNECTIONS)]
        for _ in range(3):
            await _each(open_, key, 200)
        told = await order(own, "revoke", key="ann")
        if told.get("late") != []:
            raise Failed(f"every worker to know of it was expected, seen {told}")
        reached = len(own.a.requests)
        await _each(open_, key, 401)
        if len(own.a.requests) != reached:
            raise Failed("no request with a revoked key at an engine was expected, seen one")
        answered(await own.ask(stream=False, headers=_shown(other)), by=own.a)


async def expired(site: Site) -> None:
    """A key expires while its connection is open: 401 from then on, though nobody was told, and its stream ends whole."""
    patient = {"between_tokens": "20s", "total": "40s"}
    async with site.penstock({"auth": {"keys": "always"}, "limits": patient}) as own:
        key = await key_of(own, "ann", expires_in=3.0)
        gate = own.a.hold(before=6)
        stream = own.asking(headers=_shown(key))
        await stream.until("water")
        status, until = 200, time.monotonic() + 20.0
        while status == 200:
            status = (await own.ask(stream=False, headers=_shown(key), body={"model": "nobody"})).status
            status = 200 if status == 404 else status
            if time.monotonic() > until:
                raise Failed("a key that holds for three seconds was expected to end, seen that it holds")
            await asyncio.sleep(0.05)
        if status != 401:
            raise Failed(f"401 was expected, seen {status}")
        gate.open()
        answered(await stream.seen(), by=own.a)


async def away(site: Site) -> None:
    """The state cannot be read: 503 with Retry-After for what may be a key, 401 for what cannot; with the state all is well."""
    blocked = site.folder / "away.db"
    blocked.mkdir()
    pepper = blocked.with_suffix(".pepper")
    pepper.write_text("ab" * 32, encoding="ascii")
    pepper.chmod(0o600)
    async with site.penstock({"auth": {"keys": "always"}, "state": f"sqlite:///{blocked}"}) as own:
        made_up = f"sk-{'a' * 10}-{'b' * 32}"
        refused = await own.ask(stream=False, headers=_shown(made_up))
        if refused.status != 503 or not refused.headers.get("retry-after"):
            raise Failed(f"503 with Retry-After was expected, seen: {refused}")
        _unknown(await own.ask(stream=False, headers=_shown("sk-of-another-form")))
        _unknown(await own.ask(stream=False))
        if not any(record.get("event") == "keys cannot be read" for record in own.gateway.log):
            raise Failed("a record of keys that cannot be read was expected, seen none")
        blocked.rmdir()
        until = time.monotonic() + 20.0
        while (await own.ask(stream=False, headers=_shown(made_up))).status != 401:
            if time.monotonic() > until:
                raise Failed("the keys to be read again was expected, seen that they are not")
            await asyncio.sleep(0.1)
        answered(await own.ask(stream=False, headers=_shown(await key_of(own, "ann"))), by=own.a)
        await own.logged(event="keys can be read again")


async def skewed(site: Site) -> None:
    """Tokens of an issuer whose clock is wrong: within the leeway they count, beyond it 401; an unsigned one never does."""
    async with _issued(site) as (own, private):
        now = time.time()
        good: dict[str, dict[str, object]] = {
            "ahead by less": {"iat": now + 20, "nbf": now + 20},
            "behind by less": {"iat": now - 320, "exp": now - 5},
        }
        bad: dict[str, dict[str, object]] = {
            "ahead by more": {"iat": now + 120},
            "not yet": {"nbf": now + 120},
            "expired": {"exp": now - 120},
            "of another audience": {"aud": "another"},
        }
        for what, more in good.items():
            seen = await own.ask(stream=False, headers=_shown(_token(private, sub=what, **more)))
            answered(seen, by=own.a)
        for what, more in bad.items():
            _unknown(await own.ask(stream=False, headers=_shown(_token(private, sub=what, **more))))
        _unknown(await own.ask(stream=False, headers=_shown(jwt.encode(_claims(), "", algorithm="none"))))
        await own.counted("penstock_refused_total", 5, {"code": "invalid_api_key"})


async def unheard(site: Site) -> None:
    """The issuer's keys are gone for longer than they may be: 503 for its tokens, and answers again when they are back."""
    async with _issued(site, refresh="100ms", stale="500ms") as (own, private):
        shown = _shown(_token(private))
        answered(await own.ask(stream=False, headers=shown), by=own.a)
        page = site.folder / "issuer.json"
        kept = page.read_bytes()
        page.unlink()
        await _until(own, shown, 503)
        page.write_bytes(kept)
        await _until(own, shown, 200)
        await own.logged(event="tokens are refused: the issuer's keys have not been seen for too long")


async def _until(own: Site, shown: dict[str, str], status: int) -> None:
    until = time.monotonic() + 20.0
    while (seen := await own.ask(stream=False, headers=shown)).status != status:
        if time.monotonic() > until:
            raise Failed(f"{status} was expected, seen: {seen}")
        await asyncio.sleep(0.05)


def _unknown(seen: Seen) -> None:
    if seen.outcome is not Outcome.REFUSED or seen.status != 401:
        raise Failed(f"401 was expected, seen: {seen}")


def _shown(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


async def _guess(own: Site, count: int) -> None:
    """Keys of our form, of others, and what looks like a token; all made up."""
    for number in range(count):
        key = (
            f"sk-{'a' * 10}-{secrets.token_urlsafe(24)}",
            secrets.token_urlsafe(300),
            f"eyJhbGciOiJFZERTQSIsImtpZCI6ImQifQ.{secrets.token_urlsafe(90)}.{secrets.token_urlsafe(60)}",
        )[number % 3]
        _unknown(await own.ask(stream=False, face=("openai", "ollama")[number % 2], headers=_shown(key)))


async def _each(open_: list[Bare], key: str, status: int) -> None:
    """One request on each of these connections."""
    body = {"model": MODEL, "messages": [{"role": "user", "content": "who am I?"}], "stream": False}
    asked = request(PATHS["openai"], body, _shown(key), close=False)
    for bare in open_:
        bare.received.clear()
        await bare.send(asked)
        seen = await bare.answers(1)
        if [one for one, _ in seen] != [status]:
            raise Failed(f"{status} was expected, seen {seen}")


async def key_of(own: Site, name: str, **more: object) -> str:
    """A new key."""
    made = await order(own, "create", name=name, tenant=name, **more)
    if "secret" not in made:
        raise Failed(f"a key was expected, seen {made}")
    return str(made["secret"])


async def order(own: Site, verb: str, **asked: object) -> dict[str, Any]:
    """One order over the admin socket."""
    body = json.dumps(asked).encode()
    reader, writer = await asyncio.open_unix_connection(own.own.admin)
    head = f"POST /keys/{verb} HTTP/1.1\r\nhost: penstock\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
    writer.write(head.encode() + body)
    try:
        async with asyncio.timeout(20):
            told: dict[str, Any] = json.loads((await reader.read()).partition(b"\r\n\r\n")[2])
            return told
    finally:
        writer.close()


async def _workers(own: Site, count: int) -> None:
    until = time.monotonic() + 30.0
    while await own.figure("penstock_workers") != count:
        if time.monotonic() > until:
            raise Failed(f"{count} workers were expected, seen fewer")
        await asyncio.sleep(0.1)


@asynccontextmanager
async def _issued(site: Site, **more: object) -> AsyncIterator[tuple[Site, ed25519.Ed25519PrivateKey]]:
    """A gateway that believes an issuer, and the issuer's private key."""
    private = ed25519.Ed25519PrivateKey.generate()
    public = jwt.get_algorithm_by_name("EdDSA").to_jwk(private.public_key(), as_dict=True)
    page = site.folder / "issuer.json"
    page.write_text(json.dumps({"keys": [{**public, "kid": "d"}]}), encoding="utf-8")
    issuer = {"issuer": ISSUER, "audience": AUDIENCE, "jwks": str(page), "algorithms": ["EdDSA"], **more}
    async with site.penstock({"auth": {"keys": "always", "jwt": issuer}}) as own:
        yield own, private


def _claims(**more: object) -> dict[str, object]:
    now = time.time()
    usual = {"iss": ISSUER, "aud": AUDIENCE, "sub": "ann", "tenant": "acme", "scope": "*", "iat": now, "exp": now + 300}
    return {**usual, **more}


def _token(private: ed25519.Ed25519PrivateKey, **more: object) -> str:
    return jwt.encode(_claims(**more), private, algorithm="EdDSA", headers={"kid": "d"})


SCENARIOS = (
    Scenario(24, "flood", flood, _OWN, own=True),
    Scenario(24, "revoked", revoked, _OWN, own=True),
    Scenario(24, "expired", expired, _OWN, own=True),
    Scenario(24, "store-away", away, _OWN, own=True),
    Scenario(24, "clock-skew", skewed, _OWN, own=True),
    Scenario(24, "issuer-away", unheard, _OWN, own=True),
)
