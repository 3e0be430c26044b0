"""Callers know a backend by its name. Where it is, is the operator's affair: it stands in the log alone."""

from __future__ import annotations

import pytest
from tests.fakes.gateway import StartGateway
from tests.fakes.raw import once

from penstock.faults.engine import Engine
from penstock.faults.script import Script

pytestmark = pytest.mark.asyncio

PATHS = ("/v1/chat/completions", "/v1/messages", "/api/chat")
HELLO = [{"role": "user", "content": "hello wide world"}]


async def test_no_answer_names_the_address_of_an_engine(gateway: StartGateway, scripted_engine: Engine) -> None:
    """A dead engine, one that breaks off, one that speaks no HTTP, and the pages that need no key."""
    port = str(scripted_engine.port)
    one = await gateway(
        {
            "backends": {"gpu": {"kind": "vllm", "url": scripted_engine.url, "probe": "100ms"}},
            "aliases": {"m": {"targets": [{"backends": ["gpu"], "model": "m"}]}},
        }
    )
    said: list[bytes] = []

    async def ask(path: str, *, stream: bool = False) -> None:
        said.append(
            (await once(one.url, path, {"model": "m", "messages": HELLO, "max_tokens": 5, "stream": stream})).body
        )

    for script in (Script(reset=True), Script(cut_after=1, cut="rst"), Script(body="no JSON")):
        for path in PATHS:
            for stream in (False, True):
                # Once, and then well again: nothing here is about breakers.
                scripted_engine.next.append(script)
                await ask(path, stream=stream)
                await ask(path)
    await scripted_engine.stop()
    for path in PATHS:
        await ask(path)
    await one.until("/ready", lambda page: page["aliases"]["m"]["targets"][0]["state"] == "down")
    for path in PATHS:
        await ask(path)
    said += [(await once(one.url, path)).body for path in ("/ready", "/health", "/stats", "/metrics")]
    assert sum(b"gpu: " in body for body in said) > len(PATHS)
    broken = [body for body in said if b"in the middle of its answer" in body and b"data: " in body]
    assert broken
    assert all(b"gpu: it went away in the middle of its answer" in body for body in broken)
    assert not [body for body in said if port.encode() in body or b"127.0.0.1" in body]
    # The log has all of it once the gateway has ended.
    assert await one.stop() == 0
    assert f"gpu: no connection: Connection refused (http://127.0.0.1:{port})" in one.log
    await scripted_engine.start()
