"""A processor that a process hardly gets: it is stopped for most of the time, as a throttled container is."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress


@asynccontextmanager
async def throttled(pid: int, *, stopped: float, runs: float) -> AsyncIterator[None]:
    """Stopped for so many seconds, runs for so many, over and over until the block ends."""

    async def throttle() -> None:
        while True:
            os.kill(pid, signal.SIGSTOP)
            await asyncio.sleep(stopped)
            os.kill(pid, signal.SIGCONT)
            await asyncio.sleep(runs)

    task = asyncio.create_task(throttle())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
