"""Nothing is lost or added on the way: 200 greedy answers through the gateway are the real vLLM's own."""

from __future__ import annotations

from tests.clients.greedy import compare, exact
from tests.engines.servers import LLAMA, VllmServer
from tests.fakes.gateway import StartGateway

AT_ONCE = 16


async def test_greedy_answers_are_the_engines_own(vllm_generate: VllmServer, gateway: StartGateway) -> None:
    """S3.26, S1.1: text and tokens over both protocols, streamed and not."""
    running = await gateway(
        {
            "backends": {"gpu": {"kind": "vllm", "url": vllm_generate.url}},
            "aliases": {"assistant": {"targets": [{"backends": ["gpu"], "model": LLAMA}]}},
        }
    )
    await running.until("/ready", lambda page: page["status"] == "ready")
    answers = await compare(running.url, "assistant", vllm_generate.url, LLAMA, AT_ONCE)
    assert all(len(one.ids) == one.tokens for one in answers)
    share = exact(answers)
    print(f"{share:.1%} of vLLM's answers are word for word what the guide was taught")  # noqa: T201
    assert share >= 0.98
