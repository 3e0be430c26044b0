"""Guesses at keys: each is refused unread, remembered by nobody, and written to no log."""

from __future__ import annotations

import asyncio
import hashlib
import secrets

import pytest
from tests.fakes.gateway import StartGateway
from tests.fakes.raw import Raw, once
from tests.gateway.site import chat, lane

from penstock.faults.engine import Engine
from penstock.faults.memory import held

__all__ = ["lane"]

pytestmark = pytest.mark.asyncio
GUESSES = 400
AT_ONCE = 10
GROWTH = 512 * 1024
PATH = "/v1/chat/completions"


async def guess(url: str, count: int) -> None:
    """Keys of several lengths, each in another header line, all wrong."""
    for number in range(count):
        key = secrets.token_urlsafe((16, 300, 6000)[number % 3])
        line = (f"authorization: Bearer {key}", f"x-api-key: {key}")[number % 2]
        async with Raw(url) as raw:
            raw.ask((PATH, "/v1/models", "/api/chat")[number % 3], chat(), line)
            assert (await raw.answer()).status in {401, 405}


async def test_a_flood_of_keys_leaves_nothing_behind(gateway: StartGateway, scripted_engine: Engine) -> None:
    """Memory and log stay as they were, no engine is asked, and who has a key is served meanwhile and afterwards."""
    running = await gateway(
        {
            "backends": {"a": {"kind": "vllm", "url": scripted_engine.url}},
            "aliases": {"m": {"targets": [{"backends": ["a"], "model": "m"}]}},
            "callers": {"one": {"tenant": "one", "key_sha256": hashlib.sha256(b"sk-one").hexdigest()}},
        }
    )
    right = "authorization: Bearer sk-one"
    await asyncio.gather(*(guess(running.url, 10) for _ in range(AT_ONCE)))
    before, lines = held(running.process.pid), len(running.log.splitlines())
    flood = asyncio.gather(*(guess(running.url, GUESSES // AT_ONCE) for _ in range(AT_ONCE)))
    served = 0
    while not flood.done():
        assert (await once(running.url, PATH, chat(), right)).status == 200
        served += 1
    await flood
    assert held(running.process.pid) - before <= GROWTH
    assert len(scripted_engine.requests) == served
    assert len(running.log.splitlines()) - lines <= served + 5
    page = (await once(running.url, "/metrics")).body.decode()
    assert 'penstock_refused_total{code="invalid_api_key"}' in page
