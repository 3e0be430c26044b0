"""The process that writes the log: started with the first worker, started again when it dies, and let go when we end.

It holds our stdin: however we end, it sees that, takes in what is left in the spool and ends too. Several gateways on one
machine may share a folder; each has such a process, and all but one wait for its lock.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from penstock.config_receipts import Receipts as Settings

log = structlog.stdlib.get_logger("penstock.receipts")

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0
STEADY = 10.0
STOP = 30.0
"""Seconds it may take to log what is left."""


class Process:
    """The owner of one writer."""

    def __init__(self, settings: Settings, *, json: bool) -> None:
        arguments = ["--folder", settings.folder, "--origin", settings.origin, "--key", settings.key]
        arguments += ["--keep", str(settings.keep)] if settings.keep is not None else []
        arguments += ["--json"] if json else []
        self._command = [sys.executable, "-P", "-m", "penstock.gateway.receipt_writer", *arguments]
        self._process: asyncio.subprocess.Process | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def up(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.returncode is None

    def start(self) -> None:
        """Begin to keep it alive."""
        self._task = asyncio.create_task(self._keep(), name="receipt writer")

    async def stop(self) -> None:
        """Let it end in its own time, within half a minute."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        # One that died a moment ago has left something behind.
        process = self._process if self._process is not None and self.up else await self._begin()
        if process.stdin is not None:
            process.stdin.close()
        try:
            async with asyncio.timeout(STOP):
                await process.wait()
        except TimeoutError:
            log.error(  # noqa: TRY400 - a sentence
                "the writer of receipts does not end, the rest of the spool is logged at the next start"
            )
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def _keep(self) -> None:
        pause = FIRST_PAUSE
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            process = await self._begin()
            status = await process.wait()
            pause = FIRST_PAUSE if loop.time() - began > STEADY else pause
            log.error("the writer of receipts died", status=status, again_in=pause)
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    async def _begin(self) -> asyncio.subprocess.Process:
        made = self._process = await asyncio.create_subprocess_exec(*self._command, stdin=asyncio.subprocess.PIPE)
        return made
