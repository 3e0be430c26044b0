"""Tenants' salts: what vLLM is told, that nobody chooses another's, and where nothing is said."""

from __future__ import annotations

import asyncio
import hashlib
import json
from pathlib import Path

import pytest
from tests.fakes.gateway import Gateway, StartGateway
from tests.fakes.raw import once

from penstock.faults.engine import Engine
from penstock.faults.ollama import OllamaDouble
from penstock.faults.script import Script
from penstock.gateway.salts import Salts
from penstock.protocols.dialect import Outgoing
from penstock.types import LOCAL, Caller

ASKED: dict[str, object] = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


def salt(body: bytes) -> str:
    return str(json.loads(body)["cache_salt"])


def test_a_salt_is_the_tenants_and_tells_nothing_of_it() -> None:
    """X15: the same for a tenant whoever asks, another for every other tenant and every other secret."""
    salts, other = Salts(b"a" * 32), Salts(b"b" * 32)
    out = Outgoing("/v1/chat/completions", b'{"model":"m"}')
    alice, bob = Caller("alice", "acme"), Caller("bob", "acme")
    found = salt(salts.salted(out, alice).body)
    assert found == salt(salts.salted(out, bob).body) == salt(Salts(b"a" * 32).salted(out, bob).body)
    assert (
        len({found, salt(salts.salted(out, Caller("alice", "other")).body), salt(other.salted(out, alice).body)}) == 3
    )
    assert "acme" not in found
    assert len(found) == 64
    assert hashlib.sha256(b"acme").hexdigest() != found
    assert salts.salted(out, LOCAL) is out


def test_a_caller_that_may_send_one_divides_its_own_tenants_cache() -> None:
    salts = Salts(b"a" * 32)
    may, tenant = frozenset({"cache_salt"}), "acme"
    plain = salt(salts.salted(Outgoing("/", b'{"model":"m"}'), Caller("a", tenant)).body)
    own = Outgoing("/", b'{"model":"m","cache_salt":"mine"}')
    spelled = Outgoing("/", b'{"model":"m","cache\\u005fsalt":"mine"}')
    mine = salt(salts.salted(own, Caller("a", tenant, extras=may)).body)
    assert mine == salt(salts.salted(spelled, Caller("a", tenant, extras=may)).body)
    theirs = salt(salts.salted(own, Caller("b", "other", extras=frozenset({"*"}))).body)
    assert len({plain, mine, theirs, "mine"}) == 4
    for none in (b'{"model":"m","cache_salt":null}', b'{"model":"m"}'):
        assert salt(salts.salted(Outgoing("/", none), Caller("a", tenant, extras=may)).body) == plain


async def start(gateway: StartGateway, engine: Engine, **more: object) -> Gateway:
    def caller(name: str, tenant: str, **also: object) -> dict[str, object]:
        return {"tenant": tenant, "key_sha256": hashlib.sha256(f"sk-{name}".encode()).hexdigest(), **also}

    config: dict[str, object] = {
        "backends": {"first": {"kind": "vllm", "url": engine.url, "probe": "100ms"}},
        "aliases": {"m": {"targets": [{"backends": ["first"], "model": "m"}]}},
        "callers": {
            "alice": caller("alice", "acme"),
            "bob": caller("bob", "other"),
            "carol": caller("carol", "acme", extras=["cache_salt"]),
        },
    }
    return await gateway(config | more)


async def asked(one: Gateway, engine: Engine, name: str, path: str, body: dict[str, object]) -> dict[str, object]:
    before = len(engine.requests)
    answer = await once(one.url, path, body, f"authorization: Bearer sk-{name}")
    assert answer.status == 200, answer.body
    assert len(engine.requests) == before + 1
    found: dict[str, object] = json.loads(engine.requests[-1].body)
    return found


SALTED: dict[str, dict[str, object]] = {
    "/v1/chat/completions": ASKED,
    "/v1/completions": {"model": "m", "prompt": "hi"},
    "/v1/responses": {"model": "m", "input": "hi"},
    "/v1/messages": {"model": "m", "max_tokens": 9, "messages": ASKED["messages"]},
    "/v1/embeddings": {"model": "m", "input": "hi"},
    "/api/chat": {**ASKED, "stream": False},
    "/api/generate": {"model": "m", "prompt": "hi", "stream": False},
}


@pytest.mark.asyncio
async def test_every_route_with_a_cache_is_salted_and_nobody_chooses_anothers(
    gateway: StartGateway, scripted_engine: Engine
) -> None:
    """X15: both faces; nothing where vLLM has no such field; a salt that was learnt opens nothing, however it is spelled."""
    one = await start(gateway, scripted_engine)
    for path, body in SALTED.items():
        first = await asked(one, scripted_engine, "alice", path, body)
        second = await asked(one, scripted_engine, "bob", path, body)
        again = await asked(one, scripted_engine, "carol", path, body)
        assert first["cache_salt"] == again["cache_salt"] != second["cache_salt"]
        assert "acme" not in str(first["cache_salt"])
    assert "cache_salt" not in await asked(one, scripted_engine, "alice", "/tokenize", {"model": "m", "prompt": "hi"})
    acme = str((await asked(one, scripted_engine, "alice", "/v1/chat/completions", ASKED))["cache_salt"])
    before = len(scripted_engine.requests)
    for text in (
        json.dumps({**ASKED, "cache_salt": acme}),
        json.dumps({**ASKED, "cache_salt": acme}).replace("cache_salt", "cache\\u005fsalt"),
    ):
        key = "authorization: Bearer sk-bob"
        refused = await once(one.url, "/v1/chat/completions", text.encode(), key, method="POST")
        assert refused.status == 403
        assert "cache_salt" in refused.error
    assert len(scripted_engine.requests) == before
    own = await asked(one, scripted_engine, "carol", "/v1/chat/completions", {**ASKED, "cache_salt": "x"})
    assert own["cache_salt"] not in {"x", acme}


@pytest.mark.asyncio
async def test_the_secret_lasts_and_the_switch_switches(
    gateway: StartGateway, scripted_engine: Engine, tmp_path: Path
) -> None:
    state = f"sqlite:///{tmp_path / 'shared.db'}"
    one = await start(gateway, scripted_engine, state=state)
    first = await asked(one, scripted_engine, "alice", "/v1/chat/completions", ASKED)
    assert await one.stop() == 0
    again = await start(gateway, scripted_engine, state=state)
    assert (await asked(again, scripted_engine, "alice", "/v1/chat/completions", ASKED)) == first
    assert await again.stop() == 0
    off = await start(gateway, scripted_engine, tenants={"cache_salts": False})
    assert "cache_salt" not in await asked(off, scripted_engine, "alice", "/v1/chat/completions", ASKED)
    assert await off.stop() == 0
    alone = await start(gateway, scripted_engine, callers={})
    found = await once(alone.url, "/v1/chat/completions", ASKED)
    assert found.status == 200
    assert b"cache_salt" not in scripted_engine.requests[-1].body


@pytest.mark.asyncio
async def test_only_vllm_is_told(gateway: StartGateway, scripted_engine: Engine, ollama_double: OllamaDouble) -> None:
    one = await start(
        gateway,
        scripted_engine,
        backends={
            "first": {"kind": "openai", "url": scripted_engine.url},
            "second": {"kind": "ollama", "url": ollama_double.url},
        },
        aliases={
            "m": {"targets": [{"backends": ["first"], "model": "m"}]},
            "o": {"targets": [{"backends": ["second"], "model": "llama3.2"}]},
        },
    )
    assert "cache_salt" not in await asked(one, scripted_engine, "alice", "/v1/chat/completions", ASKED)
    answer = await once(one.url, "/v1/chat/completions", {**ASKED, "model": "o"}, "authorization: Bearer sk-alice")
    assert answer.status == 200, answer.body


@pytest.mark.asyncio
async def test_copies_to_a_shadow_are_salted_as_well(gateway: StartGateway, scripted_engine: Engine) -> None:
    shadow = {"backends": ["first"], "model": "m", "share": 1.0}
    one = await start(
        gateway,
        scripted_engine,
        aliases={"m": {"targets": [{"backends": ["first"], "model": "m"}], "shadow": shadow}},
    )
    answer = await once(one.url, "/v1/chat/completions", ASKED, "authorization: Bearer sk-alice")
    assert answer.status == 200
    async with asyncio.timeout(10):
        while len(scripted_engine.requests) < 2:
            await once(one.url, "/livez", None)
    first, second = (salt(found.body) for found in scripted_engine.requests)
    assert first == second


@pytest.mark.asyncio
async def test_a_stream_that_goes_on_elsewhere_keeps_its_salt(gateway: StartGateway, scripted_engine: Engine) -> None:
    """The rest of an answer is asked for with the same prompt, and in the same part of the cache."""
    async with Engine(["m"]) as other:
        tokens = tuple("abcdefgh")
        scripted_engine.script, other.script = Script(tokens=tokens, cut_after=3), Script(tokens=tokens)
        one = await start(
            gateway,
            scripted_engine,
            backends={
                "first": {"kind": "vllm", "url": scripted_engine.url, "probe": "100ms"},
                "second": {"kind": "vllm", "url": other.url, "probe": "100ms"},
            },
            aliases={"m": {"targets": [{"backends": ["first", "second"], "model": "m"}], "midstream": "continue"}},
        )
        async with asyncio.timeout(20):
            while not scripted_engine.requests or not other.requests:
                ask = {**ASKED, "stream": True, "temperature": 0}
                answer = await once(one.url, "/v1/chat/completions", ask, "authorization: Bearer sk-alice")
                assert answer.status == 200
        salts = {salt(found.body) for engine in (scripted_engine, other) for found in engine.requests}
        assert len(salts) == 1
