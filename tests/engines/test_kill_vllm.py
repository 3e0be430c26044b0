"""The real vLLM is killed (SIGKILL) under load, with the embedded engine behind it."""

from __future__ import annotations

import asyncio

from tests.engines.servers import LLAMA, VllmServer
from tests.fakes.gateway import StartGateway
from tests.gateway.killing import Question, Siege, judge


def question(number: int) -> Question:
    """Streams of both protocols and whole answers in turn, long enough to be running when the engine dies."""
    turns = [{"role": "user", "content": "Tell me a story."}]
    body = {"model": "assistant", "messages": turns, "temperature": 0, "max_tokens": 150, "ignore_eos": True}
    if number % 4 == 3:
        return Question("/v1/chat/completions", body)
    if number % 4 == 2:
        return Question("/api/chat", {"model": "assistant", "messages": turns}, b'"content":"')
    return Question("/v1/chat/completions", {**body, "stream": True}, b'"finish_reason":null')


async def test_a_killed_vllm_costs_begun_streams_and_nothing_else(
    vllm_to_kill: VllmServer, gateway: StartGateway
) -> None:
    """S1.4, S1.33, S1.37, S3.22: others answer, `vLLM failed:` stands in the log, and every count is what the clients saw."""
    running = await gateway(
        {
            "backends": {
                "gpu": {"kind": "vllm", "url": vllm_to_kill.url},
                "local": {"kind": "embedded", "model": "guide"},
            },
            "aliases": {
                "assistant": {
                    "fallback": "any",
                    "targets": [{"backends": ["gpu"], "model": LLAMA}, {"backends": ["local"], "model": "guide"}],
                }
            },
        }
    )
    await running.until("/ready", lambda page: page["status"] == "ready")

    async def kill() -> None:
        await asyncio.to_thread(vllm_to_kill.kill)

    siege = Siege(running, question, kill)
    await siege.run()
    await judge(siege, "gpu", "local")
