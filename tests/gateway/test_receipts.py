"""Receipts of a gateway that serves: what stands in them, whose they are, and that they can be proved."""

from __future__ import annotations

import asyncio
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.fakes.gateway import Gateway, StartGateway
from tests.fakes.raw import Answer, Raw, once
from tests.gateway.test_life import free_port

from penstock.errors import BadReceipt
from penstock.faults.engine import Engine
from penstock.faults.script import Script
from penstock.receipts import bodies, keys, proof, receipt, sealed
from penstock.receipts.export import KEYS, export
from penstock.receipts.receipt import Receipt
from penstock.receipts.store import Store
from penstock.receipts.verify import Trust, verify
from penstock.receipts.writer import LOG

HELLO = [{"role": "user", "content": "hello wide world"}]
LIMIT = 30.0


def config(engine: Engine, folder: Path, **settings: object) -> dict[str, Any]:
    return {
        "backends": {"gpu": {"kind": "vllm", "url": engine.url, "probe": "100ms"}},
        "aliases": {"m": {"targets": [{"backends": ["gpu"], "model": "m"}]}},
        "receipts": {"folder": str(folder / "receipts"), "origin": "penstock.example/log", **settings},
    }


async def proven(running: Gateway, answer: Answer, *headers: str) -> tuple[Receipt, proof.Proven]:
    """The receipt of an answer, once it is logged, verified with the public key alone."""
    name = answer.header("x-penstock-receipt")
    assert name
    found = await logged(running, name, *headers)
    return proof.verify(found, keys.public(Path(_folder(running))))[0], found


async def logged(running: Gateway, name: str, *headers: str) -> proof.Proven:
    async with asyncio.timeout(LIMIT):
        while True:
            told = await once(running.url, f"/receipts/{name}", None, *headers)
            if told.status == 200:
                return proof.decode(told.body)
            assert told.status == 404, told.body
            await asyncio.sleep(0.02)


def _folder(running: Gateway) -> str:
    folder: str = yaml.safe_load(running.config.read_text())["receipts"]["folder"]
    return folder


def salted(found: proof.Proven, text: bytes) -> str:
    return "sha256:" + hashlib.sha256(bytes.fromhex(found.salt) + hashlib.sha256(text).digest()).hexdigest()


async def test_an_answer_has_a_receipt_that_proves_it(
    gateway: StartGateway, scripted_engine: Engine, tmp_path: Path
) -> None:
    """S0.24, X8, W9: what was asked and answered, as digests, in a log that was signed."""
    running = await gateway(config(scripted_engine, tmp_path))
    body = {"model": "m", "messages": HELLO}
    answer = await once(running.url, "/v1/chat/completions", body, "x-request-id: mine-1")
    assert answer.status == 200
    assert answer.header("x-penstock-receipt") == "mine-1"
    found, kept = await proven(running, answer)
    assert (found.id, found.alias, found.backend, found.model) == ("mine-1", "m", "gpu", "m")
    assert (found.status, found.outcome, found.finish, found.target) == (200, "answered", "stop", 0)
    assert found.answer == salted(kept, answer.body)
    assert found.prompt == salted(kept, json.dumps(body).encode())
    assert found.usage is not None
    assert found.usage.completion == answer.json()["usage"]["completion_tokens"]
    assert found.timings.total is not None
    assert receipt.read(bytes(kept.receipt)) == found


async def test_a_stream_is_digested_as_its_client_got_it(
    gateway: StartGateway, scripted_engine: Engine, tmp_path: Path
) -> None:
    running = await gateway(config(scripted_engine, tmp_path))
    answer = await once(running.url, "/v1/chat/completions", {"model": "m", "messages": HELLO, "stream": True})
    found, kept = await proven(running, answer)
    assert found.stream
    assert found.answer == salted(kept, answer.body)
    assert found.timings.first is not None


async def test_a_refusal_has_one_too(gateway: StartGateway, scripted_engine: Engine, tmp_path: Path) -> None:
    running = await gateway(config(scripted_engine, tmp_path))
    unknown = await once(running.url, "/v1/chat/completions", {"model": "nobody", "messages": HELLO})
    assert unknown.status == 404
    found, kept = await proven(running, unknown)
    assert (found.status, found.outcome, found.backend, found.attempts) == (404, "refused", "", 0)
    assert found.error
    assert "nobody" in found.error
    assert found.answer == salted(kept, unknown.body)
    assert found.prompt is not None


async def test_fallbacks_stand_in_it_with_their_reasons(
    gateway: StartGateway, scripted_engine: Engine, tmp_path: Path
) -> None:
    wanted = config(scripted_engine, tmp_path)
    wanted["backends"]["gone"] = {"kind": "vllm", "url": scripted_engine.url, "probe": "100ms"}
    wanted["aliases"]["m"]["targets"].insert(0, {"backends": ["gone"], "model": "m"})
    running = await gateway(wanted)
    await running.until("/ready", lambda page: page["status"] == "ready")
    scripted_engine.next.append(Script(status=500))
    answer = await once(running.url, "/v1/chat/completions", {"model": "m", "messages": HELLO})
    assert answer.status == 200
    found, _ = await proven(running, answer)
    assert [(one.backend, one.reason) for one in found.fallback] == [("gone", "5xx")]
    assert (found.target, found.backend, found.attempts) == (1, "gpu", 2)


async def test_a_tenant_sees_its_own_alone(gateway: StartGateway, scripted_engine: Engine, tmp_path: Path) -> None:
    """Nobody learns whether another tenant has that id; an id that two tenants use is each one's own."""
    callers = {
        name: {"tenant": name, "key_sha256": hashlib.sha256(name.encode()).hexdigest()} for name in ("acme", "zebra")
    }
    running = await gateway(config(scripted_engine, tmp_path) | {"callers": callers})
    asked = {"model": "m", "messages": HELLO}
    for name in ("acme", "zebra"):
        await once(
            running.url, "/v1/chat/completions", asked, f"authorization: Bearer {name}", f"x-request-id: {name}-1"
        )
        await once(running.url, "/v1/chat/completions", asked, f"authorization: Bearer {name}", "x-request-id: both")
    for name, other in (("acme", "zebra"), ("zebra", "acme")):
        key = f"authorization: Bearer {name}"
        own = await logged(running, f"{name}-1", key)
        assert receipt.read(bytes(own.receipt)).tenant == name
        assert receipt.read(bytes((await logged(running, "both", key)).receipt)).tenant == name
        assert other not in proof.encode(own).decode()
        foreign = await once(running.url, f"/receipts/{other}-1", None, key)
        nothing = await once(running.url, "/receipts/nothing-1", None, key)
        assert (foreign.status, nothing.status) == (404, 404)
        assert foreign.error == nothing.error.replace("nothing-1", f"{other}-1")
    assert (await once(running.url, "/receipts/acme-1", None)).status == 401
    for odd in ("..%2f..%2flog.key", "%00", "a'%20OR%201=1--", "x" * 2000):
        assert (await once(running.url, f"/receipts/{odd}", None, "authorization: Bearer acme")).status in {400, 404}


async def test_a_client_that_leaves_and_a_stream_that_breaks(
    gateway: StartGateway, scripted_engine: Engine, tmp_path: Path
) -> None:
    running = await gateway(config(scripted_engine, tmp_path))
    await running.until("/ready", lambda page: page["status"] == "ready")
    gate = scripted_engine.hold(before=1)
    async with Raw(running.url) as raw:
        raw.ask("/v1/chat/completions", {"model": "m", "messages": HELLO, "stream": True}, "x-request-id: left")
        await raw.until(b"hello")
    found = receipt.read(bytes((await logged(running, "left")).receipt))
    gate.open()
    assert (found.outcome, found.status) == ("client gone", 499)
    assert found.answer is not None
    scripted_engine.next.append(Script(cut_after=2))
    broken = await once(
        running.url, "/v1/chat/completions", {"model": "m", "messages": HELLO, "stream": True}, "x-request-id: broken"
    )
    told, kept = await proven(running, broken)
    assert told.outcome == "broken"
    assert told.answer == salted(kept, broken.body)


async def test_the_end_of_an_answer_waits_for_the_disk_where_it_shall(
    gateway: StartGateway, scripted_engine: Engine, tmp_path: Path
) -> None:
    wanted = config(scripted_engine, tmp_path)
    wanted["aliases"]["m"]["durability"] = "fsync"
    running = await gateway(wanted)
    for stream in (False, True):
        body = {"model": "m", "messages": HELLO, "stream": stream}
        answer = await once(running.url, "/v1/chat/completions", body)
        assert answer.complete
        found, kept = await proven(running, answer)
        assert found.answer == salted(kept, answer.body)


async def test_sealed_bodies_are_for_the_auditor_alone(
    gateway: StartGateway, scripted_engine: Engine, tmp_path: Path
) -> None:
    """X8: texts are on no disk but sealed; who has the auditor's key and an export can hold them against the receipts; erased, nobody can."""
    public, secret = sealed.new()
    running = await gateway(config(scripted_engine, tmp_path, bodies="sealed", auditor=public))
    body = {"model": "m", "messages": [{"role": "user", "content": "a very secret word"}]}
    answer = await once(running.url, "/v1/chat/completions", body, "x-request-id: mine")
    await proven(running, answer)
    place = tmp_path / "receipts"
    assert await running.stop() == 0
    assert not any(b"very secret" in one.read_bytes() for one in place.rglob("*") if one.is_file())
    store = Store(place)
    export(store, place / LOG, keys.public(place), tmp_path / "out", None)
    store.close()
    (opened,) = bodies.opened(tmp_path / "out", sealed.secret(secret))
    assert json.loads(opened.request) == body
    assert opened.answer == answer.body
    with pytest.raises(BadReceipt):
        list(bodies.opened(tmp_path / "out", sealed.secret(sealed.new()[1])))
    (tmp_path / "out" / KEYS).unlink()
    with pytest.raises(BadReceipt):
        list(bodies.opened(tmp_path / "out", sealed.secret(secret)))


async def test_what_was_asked_of_a_gateway_that_stops_is_logged_before_it_ends(
    gateway: StartGateway, scripted_engine: Engine, tmp_path: Path
) -> None:
    running = await gateway(config(scripted_engine, tmp_path) | {"workers": 2, "listen": [f"127.0.0.1:{free_port()}"]})
    await running.until("/ready", lambda page: page["status"] == "ready")
    for number in range(20):
        await once(
            running.url, "/v1/chat/completions", {"model": "m", "messages": HELLO}, f"x-request-id: number-{number}"
        )
    assert await running.stop() == 0
    place = tmp_path / "receipts"
    async with asyncio.timeout(LIMIT):
        while list((place / "spool").glob("*.spool")):  # noqa: ASYNC110 - the writer ends after the gateway
            await asyncio.sleep(0.05)
    store = Store(place)
    assert sorted(receipt.read(one.data).id for one in store.all()) == sorted(
        f"number-{number}" for number in range(20)
    )
    store.close()
    assert verify(place / LOG, Trust(keys.public(place))).good


async def test_off_there_is_no_header_and_no_route(
    gateway: StartGateway, scripted_engine: Engine, tmp_path: Path
) -> None:
    wanted = config(scripted_engine, tmp_path)
    del wanted["receipts"]
    running = await gateway(wanted)
    answer = await once(running.url, "/v1/chat/completions", {"model": "m", "messages": HELLO})
    assert answer.header("x-penstock-receipt") is None
    assert (await once(running.url, "/receipts/any", None)).status == 404
    assert not (tmp_path / "receipts").exists()
