"""A client that leaves takes its request with it, in every phase: the engine learns of it before its next token.

No clock decides here: the engine is held before a token, so an abort that it sees was there before that token.
"""

from __future__ import annotations

import pytest
from tests.fakes.raw import Raw
from tests.gateway.site import HELLO, SHARED, Site, chat

from penstock.faults.record import Journal
from penstock.faults.script import Script

pytestmark = SHARED
PATHS = {
    "openai": ("/v1/chat/completions", "m"),
    "anthropic": ("/v1/messages", "m"),
    "ollama": ("/api/chat", "m"),
    "openai over ollama": ("/v1/chat/completions", "via-ollama"),
    "ollama over ollama": ("/api/chat", "via-ollama"),
}
every_pair = pytest.mark.parametrize("pair", PATHS)


def engine_of(site: Site, pair: str) -> Journal:
    return site.ollama if PATHS[pair][1] == "via-ollama" else site.first


def ask(pair: str, *, stream: bool) -> tuple[str, dict[str, object]]:
    path, model = PATHS[pair]
    return path, {"model": model, "messages": HELLO, "max_tokens": 50, "stream": stream}


async def settled(site: Site, engine: Journal) -> None:
    """Nothing is left running, here or there, and the gateway serves on."""
    await engine.until(lambda: engine.running == 0, "the engine to be idle")
    await site.gateway.until("/stats", lambda page: page["active_requests"] == 0)


@every_pair
@pytest.mark.parametrize("stream", [False, True])
async def test_during_prefill(site: Site, pair: str, *, stream: bool) -> None:
    """H6."""
    engine = engine_of(site, pair)
    gate = engine.hold(before=0)
    async with Raw(site.url) as raw:
        raw.ask(*ask(pair, stream=stream))
        await gate.reached()
    assert (await engine.aborted()).tokens == 0
    await settled(site, engine)


@every_pair
async def test_in_the_middle_of_a_stream(site: Site, pair: str) -> None:
    """H6."""
    engine = engine_of(site, pair)
    gate = engine.hold(before=2)
    async with Raw(site.url) as raw:
        raw.ask(*ask(pair, stream=True))
        await raw.until(b"wide")
        await gate.reached()
    assert (await engine.aborted()).tokens == 2
    await settled(site, engine)


@every_pair
async def test_in_a_stalled_stream(site: Site, pair: str) -> None:
    engine = engine_of(site, pair)
    script = Script(stall_after=1)
    (site.ollama if engine is site.ollama else site.first).script = script
    async with Raw(site.url) as raw:
        raw.ask(*ask(pair, stream=True))
        await raw.until(b"hello")
    assert (await engine.aborted()).tokens == 1
    await settled(site, engine)


async def test_by_reset(site: Site) -> None:
    gate = site.first.hold(before=1)
    async with Raw(site.url) as raw:
        raw.ask(*ask("openai", stream=True))
        await raw.until(b"hello")
        await gate.reached()
        raw.reset()
        assert (await site.first.aborted()).tokens == 1


async def test_while_generating_a_whole_answer(site: Site) -> None:
    gate = site.first.hold(before=2)
    async with Raw(site.url) as raw:
        raw.ask(*ask("openai", stream=False))
        await gate.reached()
    assert (await site.first.aborted()).tokens == 2
    await settled(site, site.first)


async def test_with_requests_waiting_behind(site: Site) -> None:
    """Pipelined requests of a client that left are never asked."""
    gate = site.first.hold(before=0)
    async with Raw(site.url) as raw:
        for _ in range(3):
            raw.ask(*ask("openai", stream=False))
        await gate.reached()
    await site.first.aborted()
    await settled(site, site.first)
    assert len(site.first.requests) == 1


async def test_an_abort_is_no_failure_of_the_engine(site: Site) -> None:
    """Leaving clients never open a breaker."""
    gate = site.first.hold(before=0)
    for count in range(1, 8):
        async with Raw(site.url) as raw:
            raw.ask(*ask("openai", stream=True))
            await site.first.seen(count)
        await site.first.aborted(count)
    gate.open()
    assert (await site.chat("m2")).header("x-penstock-backend") == "first"


async def test_nobody_retries_for_a_client_that_left(site: Site) -> None:
    gate = site.first.hold(before=0)
    async with Raw(site.url) as raw:
        raw.ask("/v1/chat/completions", chat("m2"))
        await gate.reached()
    await site.first.aborted()
    await settled(site, site.first)
    assert not site.second.requests
