"""What reading one event of a stream costs the process that measures: `python -m bench.reading`.

The reader of `penstock compare` and `penstock bench` twice over the same engine: on its own connection, and on httpx2's. The figure is
CPU time of this process an event, everything included: socket, HTTP, cutting, JSON, times noted.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable

import httpx2
import uvloop

from penstock.bench.answer import OpenAIReading
from penstock.bench.speech import Wish, request_body
from penstock.bench.wire import Origin
from penstock.bench.workload import Message, Prompt
from penstock.types import Wire

STREAMS, EVENTS, GAP = 8, 400, 0.004
ROUNDS = 7
PATH = "/v1/chat/completions"
BODY = request_body(Wire.OPENAI, "m", Prompt(1, (Message("user", "one two three"),)), Wish(max_tokens=4096))

Ask = Callable[[OpenAIReading], Awaitable[None]]


async def measured(ask: Ask) -> float:
    """Microseconds of CPU time an event, with several streams at once."""
    readings = [OpenAIReading(place, 1, 0) for place in range(STREAMS)]
    before = time.process_time()
    await asyncio.gather(*(ask(reading) for reading in readings))
    used = time.process_time() - before
    events = sum(len(reading.sample().gaps) + 1 for reading in readings)
    if events != STREAMS * EVENTS:
        raise RuntimeError(f"{events} events came instead of {STREAMS * EVENTS}")
    return used / events * 1e6


async def main(url: str) -> None:
    """Both in turn, several rounds; medians and ranges."""
    origin = Origin(url)
    async with httpx2.AsyncClient(timeout=60) as client:

        async def ours(reading: OpenAIReading) -> None:
            await origin.ask("POST", PATH, BODY, reading, 60)

        async def theirs(reading: OpenAIReading) -> None:
            reading.sent(time.perf_counter_ns())
            async with client.stream(
                "POST", url + PATH, content=BODY, headers={"content-type": "application/json"}
            ) as answer:
                reading.head(answer.status_code, {})
                async for piece in answer.aiter_raw():
                    reading.received(piece, time.perf_counter_ns())
            reading.complete(time.perf_counter_ns())

        both: dict[str, Ask] = {"penstock.bench.wire": ours, f"httpx2 {httpx2.__version__}": theirs}
        found: dict[str, list[float]] = {name: [] for name in both}
        for ask in both.values():
            await measured(ask)
        for _ in range(ROUNDS):
            for name, ask in both.items():
                found[name].append(await measured(ask))
    origin.close()
    for name, values in found.items():
        print(f"{name:20} {statistics.median(values):6.1f} µs an event ({min(values):.1f} to {max(values):.1f})")


if __name__ == "__main__":
    script = json.dumps({"count": EVENTS, "gap": GAP})
    command = [sys.executable, "-m", "penstock.faults.engine", "--model", "m", "--script", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as engine:
        try:
            assert engine.stdout is not None  # noqa: S101 - it was asked for
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(main(json.loads(engine.stdout.readline())["url"]))
        finally:
            engine.terminate()
