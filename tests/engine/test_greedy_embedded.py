"""Nothing is lost or added on the way: 200 greedy answers through the gateway are the embedded engine's own."""

from __future__ import annotations

from tests.clients.greedy import compare, exact
from tests.engines_fixtures import Engine
from tests.fakes.gateway import StartGateway

SLOTS = 4


async def test_greedy_answers_are_the_engines_own(guide_engine: Engine, gateway: StartGateway) -> None:
    """S3.26, S1.1: text and token counts over both protocols, streamed and not; the gateway's engine is another process."""
    running = await gateway(
        {
            "backends": {"local": {"kind": "embedded", "model": "guide"}},
            "aliases": {"assistant": {"targets": [{"backends": ["local"], "model": "guide"}]}},
        }
    )
    await running.until("/ready", lambda page: page["status"] == "ready")
    answers = await compare(running.url, "assistant", guide_engine.url, "guide", SLOTS)
    share = exact(answers)
    print(f"{share:.1%} of the embedded engine's answers are word for word what the guide was taught")  # noqa: T201
    assert share >= 0.98
