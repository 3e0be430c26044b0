"""Receipts of a gateway that serves: what stands in them, whose they are, and that they can be proved."""

from __future__ import annotations

import asyncio
import hashlib
import json
from pathlib import Path
from typing import Any

import yaml
from tests.fakes.gateway import Gateway, StartGateway
from tests.fakes.raw import Answer, once

from penstock.faults.engine import Engine
from penstock.receipts import keys, proof, receipt
from penstock.receipts.receipt import Receipt

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
