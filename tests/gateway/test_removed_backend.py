"""A reload takes a backend away that requests under way began with: they go on as if it had failed."""

from __future__ import annotations

import signal

import pytest
import yaml
from tests.fakes.gateway import StartGateway
from tests.fakes.raw import Raw, once
from tests.gateway.site import chat

from penstock.faults.engine import Engine

pytestmark = pytest.mark.asyncio


async def test_a_request_falls_back_from_a_backend_that_is_no_longer_configured(gateway: StartGateway) -> None:
    """S2.8: the first-token limit still ends the wait, the fallback answers, and later limits still work."""
    async with Engine(["m"]) as first, Engine(["m"]) as second:
        settings = {
            "backends": {
                "first": {"kind": "vllm", "url": first.url, "probe": "100ms"},
                "second": {"kind": "vllm", "url": second.url, "probe": "100ms"},
            },
            "aliases": {
                "m": {"targets": [{"backends": ["first"], "model": "m"}, {"backends": ["second"], "model": "m"}]}
            },
            "limits": {"first_token": "2s"},
        }
        one = await gateway(settings)
        gate = first.hold(before=0)
        async with Raw(one.url) as raw:
            raw.ask("/v1/chat/completions", chat(stream=True))
            await gate.reached()
            written = yaml.safe_load(one.config.read_text())
            del written["backends"]["first"]
            written["aliases"]["m"]["targets"].pop(0)
            one.config.write_text(yaml.safe_dump(written))
            one.process.send_signal(signal.SIGHUP)
            await one.until("/stats", lambda page: list(page["backends"]) == ["second"])
            answer = await raw.answer()
        assert answer.status == 200
        assert answer.header("x-penstock-backend") == "second"
        assert answer.header("x-penstock-fallback") == "timeout"
        held = second.hold(before=0)
        late = await once(one.url, "/v1/chat/completions", chat(stream=True))
        held.open()
        assert late.status == 504
