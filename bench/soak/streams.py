"""Steady streams: many that nothing disturbs, from the load generator in C, in as many batches as the gateway's share asks for."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from bench.build import Programs
from bench.processes import body
from bench.soak.verdicts import Steady

BATCH = 16
MOST = 20
"""Batches at the same time."""
STREAM = "bench(chunks=128,gap=10000)"
CHUNKS = 128
CLOSE = 0.04
"""How near to its share the gateway may be before a batch comes or goes."""
LATE = 0.2
"""Seconds that this process may wake up late: beyond, the machine is busy and the gateway cannot have its share."""
ENDING_SECONDS = 30.0


class Streams:
    """Batches that come and go; every one is asked what it saw."""

    def __init__(self, built: Programs, url: str, folder: Path, seconds: float) -> None:
        order = folder / "steady.json"
        order.write_bytes(body(STREAM, stream=True))
        command = [str(built.load), "--port", url.rpartition(":")[2], "--body", str(order), "--warm", "0"]
        command += ["--connections", str(BATCH), "--seconds", str(seconds), "--stream", str(CHUNKS)]
        self._command = command
        self._batches: list[asyncio.subprocess.Process] = []
        self._seen = Steady(0, 0, 0, 0, 0)

    @property
    def open(self) -> int:
        """Streams at this moment."""
        return BATCH * len(self._batches)

    async def follow(self, wanted: float, share: float, late: float) -> None:
        """One batch more or less, if the gateway is not near its share."""
        if share < wanted - CLOSE and len(self._batches) < MOST and late < LATE:
            pipe = asyncio.subprocess.PIPE
            self._batches.append(await asyncio.create_subprocess_exec(*self._command, stdout=pipe, stderr=pipe))
        elif share > wanted + CLOSE and self._batches:
            await self._end(self._batches.pop())

    async def end(self) -> Steady:
        """End all of them; what all that ever were saw together."""
        while self._batches:
            await self._end(self._batches.pop())
        return self._seen

    async def _end(self, batch: asyncio.subprocess.Process) -> None:
        if batch.returncode is None:
            batch.terminate()
        out, errors = await asyncio.wait_for(batch.communicate(), ENDING_SECONDS)
        if batch.returncode:
            message = f"steady streams: the load generator gave up: {errors.decode().strip()[-500:]}"
            raise SystemExit(message)
        seen, before = json.loads(out), self._seen
        self._seen = Steady(
            before.connections + BATCH,
            before.sent + seen["sent"],
            before.whole + seen["requests"] - seen["not_200"],
            before.refused + seen["not_200"],
            before.wrong + seen["wrong"] + seen["failed"],
        )
