"""500 calls, sixteen at a time, in threads and tasks, whole and streamed, while the engine is killed and restarted three times.

The scenario knows the engine only as something that can be killed and started; the scripted engine as a process of its own
is here, the real vLLM's turn (killed once) is tests/engines/test_client_vllm.py.
"""

from __future__ import annotations

import asyncio
import json
import queue
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

from penstock.client.plain import VLLMClient
from penstock.errors import PenstockError

THREADS = TASKS = 8
DEAD = 30
"""Calls that are begun while the engine is away, each time."""
LOST = 3
"""Calls that a dead engine must have cost before it is started again."""
_START = 30.0


class Mortal(Protocol):
    """An engine that can be killed and comes back at the same place."""

    async def kill(self) -> None: ...

    async def start(self) -> None: ...


class EngineProcess:
    """A scripted engine as a process, ended by SIGKILL."""

    def __init__(self, **script: object) -> None:
        self._script = json.dumps(script)
        self._process: asyncio.subprocess.Process | None = None
        self.url = ""

    async def start(self) -> None:
        port = self.url.rpartition(":")[2] or "0"
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "penstock.faults.engine", "--model", "m", "--port", port),
            *("--script", self._script),
            stdout=asyncio.subprocess.PIPE,
        )
        assert self._process.stdout is not None
        async with asyncio.timeout(_START):
            self.url = json.loads(await self._process.stdout.readline())["url"]

    async def kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the caller of one call saw."""

    number: int
    streamed: bool
    pieces: list[str]
    error: PenstockError | None = None

    @property
    def text(self) -> str:
        return "".join(self.pieces)


@dataclass
class Siege:
    """The calls and the kills in their midst."""

    client: VLLMClient
    engine: Mortal
    question: Callable[[int], str]
    lost: Callable[[], int]
    """How many calls the dead engine has cost so far."""
    calls: int = 500
    kills: int = 3
    limit: float = 45.0
    outcomes: list[Outcome] = field(default_factory=list)
    _for_tasks: asyncio.Queue[int | None] = field(default_factory=asyncio.Queue)
    _for_threads: queue.SimpleQueue[int | None] = field(default_factory=queue.SimpleQueue)
    _given: int = 0

    async def run(self) -> None:
        with ThreadPoolExecutor(THREADS) as pool:  # the loop's own may have fewer threads than this needs
            async with asyncio.timeout(self.limit), asyncio.TaskGroup() as group:
                group.create_task(self._kill())
                for _ in range(TASKS):
                    group.create_task(self._task())
                for _ in range(THREADS):
                    group.create_task(self._in(pool))

    async def _in(self, pool: ThreadPoolExecutor) -> None:
        await asyncio.get_running_loop().run_in_executor(pool, self._thread)

    async def _kill(self) -> None:
        try:
            for _ in range(self.kills):
                self._give((self.calls - self.kills * DEAD) // (self.kills + 1))
                await self._until(lambda: len(self.outcomes) >= self._given - TASKS)  # the others are under way
                before = self.lost()
                await self.engine.kill()
                self._give(DEAD)
                await self._until(lambda before=before: self.lost() >= before + LOST)  # type: ignore[misc]
                await self.engine.start()
            self._give(self.calls - self._given)
        finally:
            for _ in range(TASKS):
                self._for_tasks.put_nowait(None)
            for _ in range(THREADS):
                self._for_threads.put(None)

    def _give(self, calls: int) -> None:
        for number in range(self._given, self._given + calls):
            if number // 2 % 2:
                self._for_tasks.put_nowait(number)
            else:
                self._for_threads.put(number)
        self._given += calls

    async def _until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(self.limit):
            while not holds():  # noqa: ASYNC110 - threads and the client's own figures raise no event
                await asyncio.sleep(0.002)

    async def _task(self) -> None:
        while (number := await self._for_tasks.get()) is not None:
            question, pieces, error = self.question(number), list[str](), None
            try:
                if number % 2:
                    async for piece in self.client.astream(question):
                        pieces.append(piece)
                else:
                    pieces.append(await self.client.ainvoke(question))
            except PenstockError as broken:
                error = broken
            self.outcomes.append(Outcome(number, bool(number % 2), pieces, error))

    def _thread(self) -> None:
        while (number := self._for_threads.get()) is not None:
            question, pieces, error = self.question(number), list[str](), None
            try:
                if number % 2:
                    pieces.extend(self.client.stream(question))
                else:
                    pieces.append(self.client.invoke(question))
            except PenstockError as broken:
                error = broken
            self.outcomes.append(Outcome(number, bool(number % 2), pieces, error))


def judge(siege: Siege, answer: Callable[[int], str], *, fallback: bool) -> None:
    """No wrong answer, no duplicated content; errors only where another attempt was forbidden."""
    assert len(siege.outcomes) == siege.calls
    for one in siege.outcomes:
        expected = answer(one.number)
        if one.error is None:
            assert one.text == expected
        elif fallback:
            assert one.streamed, f"a whole answer failed although another engine was there: {one.error!r}"
            assert "Neither engine" not in str(one.error)
        assert expected.startswith(one.text)
