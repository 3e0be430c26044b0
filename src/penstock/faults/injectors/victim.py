"""A scripted engine in a process of its own, so that it can be killed as an engine is: with all it has open, at once."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec

from penstock.faults.scenario import Failed
from penstock.faults.script import Script
from penstock.faults.seen import Asking, request

_START = 30.0
_LOOK = 0.02


class Victim:
    """The process."""

    def __init__(self, process: asyncio.subprocess.Process, url: str) -> None:
        self._process = process
        self.url = url
        self.killed = False

    def kill(self) -> None:
        """SIGKILL: its kernel resets what it leaves unread."""
        # not by the process object, which looks whether it has ended already and takes that from whoever waits for it
        if not self.killed:
            self.killed = True
            os.kill(self._process.pid, signal.SIGKILL)

    async def asked(self, limit: float = _START) -> None:
        """Until a request has arrived that asks its model; it tells the number of those that run."""
        async with asyncio.timeout(limit):
            while True:
                seen = await Asking(self.url, request("/load"), stream=False, face="openai").start().seen()
                if seen.events and seen.events[0].get("server_load"):
                    return
                await asyncio.sleep(_LOOK)


@asynccontextmanager
async def victim(port: int, script: Script, model: str = "m") -> AsyncIterator[Victim]:
    """Running and listening on this port; ended afterwards, if it still lives."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "penstock.faults.engine", "--port", str(port), "--model", model),
        *("--script", msgspec.json.encode(script).decode()),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
    )
    one = Victim(process, f"http://127.0.0.1:{port}")
    try:
        if process.stdout is None:
            raise Failed("the victim was to say where it listens")
        async with asyncio.timeout(_START):
            line = await process.stdout.readline()
        if not line:
            raise Failed(f"the victim was to listen on port {port}; it ended instead")
        yield one
    finally:
        one.kill()
        await process.wait()
