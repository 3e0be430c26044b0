"""An engine process is killed under load, with a second target behind it. The real vLLM's turn is tests/engines/test_kill_vllm.py."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.fakes.gateway import StartGateway
from tests.gateway.killing import Question, Siege, judge

START = 30.0
SAID = [{"role": "user", "content": "water runs through the penstock to the turbines"}]


@asynccontextmanager
async def scripted_process(**script: object) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """A scripted engine as a process of its own, which SIGKILL ends as it ends a real one."""
    command = [sys.executable, "-P", "-m", "penstock.faults.engine", "--model", "m", "--script", json.dumps(script)]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        assert process.stdout is not None
        async with asyncio.timeout(START):
            line = await process.stdout.readline()
        yield process, json.loads(line)["url"]
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def question(number: int) -> Question:
    """Streams of both protocols and whole answers in turn."""
    body = {"model": "m", "messages": SAID}
    if number % 4 == 3:
        return Question("/v1/chat/completions", body)
    if number % 4 == 2:
        return Question("/api/chat", body, b"water")
    return Question("/v1/chat/completions", {**body, "stream": True}, b"water")


async def test_a_killed_engine_costs_begun_streams_and_nothing_else(gateway: StartGateway) -> None:
    """S1.4, S1.33, S1.37, S3.22: others answer, `vLLM failed:` stands in the log, and every count is what the clients saw."""
    async with scripted_process(gap=0.05, count=100) as (process, first), scripted_process() as (_, second):
        running = await gateway(
            {
                "backends": {"gpu": {"kind": "vllm", "url": first}, "spare": {"kind": "vllm", "url": second}},
                "aliases": {
                    "m": {
                        "fallback": "any",
                        "targets": [{"backends": ["gpu"], "model": "m"}, {"backends": ["spare"], "model": "m"}],
                    }
                },
            }
        )
        await running.until("/ready", lambda page: page["status"] == "ready")

        async def kill() -> None:
            process.kill()
            await process.wait()

        siege = Siege(running, question, kill)
        await siege.run()
        await judge(siege, "gpu", "spare")
