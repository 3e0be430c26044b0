"""An engine process that we start ourselves and keep alive.

    async with Child(embedded("local", "guide")) as child:
        await child.ready()
        child.url                   # http://127.0.0.1:PORT, another port after every restart

The process announces itself with one JSON line on stdout that names its port; its stdin stays open for as long as we live,
so that it ends when we do, however we end. One that dies is started again after a pause that doubles from 0.2 s to 10 s and
starts over once a process has lasted a minute; one that exits with status 2 says that no restart can help, and is left alone.
Nothing here knows what the process serves, and nothing here speaks HTTP.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import Self

import msgspec

from penstock.errors import Unreachable

FIRST_PAUSE = 0.2
LONGEST_PAUSE = 10.0
STEADY_AFTER = 60.0
USELESS_TO_RETRY = 2
LAST_LINES = 50
LINE_LENGTH = 500
SHOWN_LINES = 4
READ_SIZE = 4096


class State(StrEnum):
    """Where a child stands."""

    STOPPED = "stopped"
    STARTING = "starting"
    DOWNLOADING = "downloading"
    READY = "ready"
    RESTARTING = "restarting"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Launch:
    """What to start, and how long its beginning and its end may take, in seconds."""

    name: str
    command: tuple[str, ...]
    ready_within: float = 300.0
    stop_within: float = 8.0


class Announcement(msgspec.Struct, frozen=True):
    """The line with which a process says that it can serve."""

    port: int
    model: str = ""
    context: int = 0
    trained_context: int = 0
    slots: int = 0
    embedding: bool = False


class _News(msgspec.Struct, frozen=True):
    """Any line that a process says: its announcement has a port, what comes before has not."""

    port: int | None = None
    downloading: str = ""
    here: int = 0
    whole: int = 0


def embedded(
    name: str, model: str, *, alias: str = "", slots: int = 4, context: int = 0, embedding: bool = False
) -> Launch:
    """The embedded engine with `guide` or a GGUF file. -P: a stray file in the working folder must not be imported."""
    command = [sys.executable, "-P", "-m", "penstock.engine.embedded", "--model", model, "--slots", str(slots)]
    command += ["--alias", alias] if alias else []
    command += ["--context", str(context)] if context else []
    command += ["--embedding"] if embedding else []
    return Launch(name, tuple(command))


def pause_before(restart: int, luck: float) -> float:
    """Seconds to wait before the restart of this number, counted from 0; `luck` in [0, 1) spreads them over a half."""
    return float(min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(restart, 16))) * (0.5 + luck / 2)


class Child:
    """The owner of one engine process. Everything it starts ends in `stop`."""

    def __init__(self, launch: Launch, on_change: Callable[[Child], None] | None = None) -> None:
        self.launch = launch
        self.state = State.STOPPED
        self.announced: Announcement | None = None
        self.pid: int | None = None
        self.last_error = ""
        self.progress = ""
        """How far a download is, in words; empty while there is none."""
        self.restarts = 0
        self._on_change = on_change
        self._settled = asyncio.Event()
        self._lines: deque[str] = deque(maxlen=LAST_LINES)
        self._supervisor: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def port(self) -> int | None:
        """Where it listens now; None unless it is ready."""
        return self.announced.port if self.announced is not None else None

    @property
    def url(self) -> str | None:
        """The same as a base URL."""
        return f"http://127.0.0.1:{self.port}" if self.port is not None else None

    def start(self) -> None:
        """Begins to keep a process alive. Does nothing when that is already so; after `failed` it tries anew."""
        if self._supervisor is None or self._supervisor.done():
            self._settled.clear()
            self._supervisor = asyncio.create_task(self._supervise(), name=f"child {self.launch.name}")
            self._supervisor.add_done_callback(self._left)

    async def ready(self, within: float | None = None) -> Announcement:
        """Waits until the process can serve. Raises Unreachable when it failed for good or the time is over."""
        limit = self.launch.ready_within if within is None else within
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit):
                await self._settled.wait()
        if self.announced is not None:
            return self.announced
        why = self.last_error or f"it was not ready within {limit:g} s."
        raise Unreachable(f"Starting the engine {self.launch.name}: {why}")

    async def stop(self) -> None:
        """Ends the process and the restarting, within `stop_within` and the time a kill takes."""
        supervisor, self._supervisor, why = self._supervisor, None, self.last_error
        if supervisor is not None:
            supervisor.cancel()
            await asyncio.wait([supervisor])
            self.last_error = why
        self._become(State.STOPPED)
        if supervisor is not None and not supervisor.cancelled():
            supervisor.result()

    def last_lines(self) -> tuple[str, ...]:
        """What the process wrote to stderr last, the oldest line first."""
        return tuple(self._lines)

    async def _supervise(self) -> None:
        clock = asyncio.get_running_loop().time
        deaths = 0
        self._become(State.STARTING)
        while True:
            began = clock()
            status = await self._live()
            if status == USELESS_TO_RETRY:
                self._become(State.FAILED)
                return
            deaths = 0 if clock() - began >= STEADY_AFTER else deaths
            self._become(State.RESTARTING)
            # Not a secret: luck only keeps the children of several gateways from starting in step.
            await asyncio.sleep(pause_before(deaths, random.random()))  # noqa: S311
            deaths += 1
            self.restarts += 1

    async def _live(self) -> int | None:
        """One process from start to end: its exit status, None when it did not even start."""
        self._lines.clear()
        pipe = asyncio.subprocess.PIPE
        try:
            # A session of its own: Ctrl-C in the terminal is for us, who drain first and then stop it.
            process = await asyncio.create_subprocess_exec(
                *self.launch.command, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True
            )
        except OSError as problem:
            self.last_error = f"{self.launch.command[0]} could not be started: {problem.strerror or problem}."
            return None
        self.pid = process.pid
        listener = asyncio.create_task(self._listen(process), name=f"stderr of {self.launch.name}")
        try:
            await self._greet(process)
            return await process.wait()
        finally:
            self.announced = None
            await self._end(process)
            await asyncio.wait([listener], timeout=1.0)
            listener.cancel()
            self.pid = None
            self._explain(process.returncode)

    async def _greet(self, process: asyncio.subprocess.Process) -> None:
        """Waits for the announcement. A process that is silent for too long or says something else is killed."""
        assert process.stdout is not None  # noqa: S101 -- it was started with a pipe
        line = b""
        try:
            while self.announced is None:
                async with asyncio.timeout(self.launch.ready_within):
                    line = await process.stdout.readline()
                if not line:
                    return
                self._hear(line)
        except TimeoutError:
            self._lines.append(f"(It did not announce itself within {self.launch.ready_within:g} s and was killed.)")
            process.kill()
        except ValueError:  # not JSON, not an announcement, or a line without end
            self._lines.append(
                f"(It announced itself with {line[:80]!r}, which is not what we expect, and was killed.)"
            )
            process.kill()

    def _hear(self, line: bytes) -> None:
        news = msgspec.json.decode(line, type=_News)
        if news.port is None:
            done = f"{news.here * 100 // news.whole} %" if news.whole else f"{news.here} bytes"
            self.progress = f"downloading {news.downloading}: {done}"
            self._become(State.DOWNLOADING)
            return
        self.announced = msgspec.json.decode(line, type=Announcement)
        self.last_error = self.progress = ""
        self._become(State.READY)

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        """Keeps the last lines of stderr, each cut to a bound."""
        assert process.stderr is not None  # noqa: S101 -- it was started with a pipe
        rest = ""
        while piece := await process.stderr.read(READ_SIZE):
            *lines, rest = (rest + piece.decode(errors="replace")).split("\n")
            self._lines.extend(line[:LINE_LENGTH] for line in lines if line.strip())
            rest = rest[:LINE_LENGTH]
        if rest.strip():
            self._lines.append(rest)

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        """Politely first: its stdin ends and it gets SIGTERM; after `stop_within` it is killed."""
        assert process.stdin is not None  # noqa: S101 -- it was started with a pipe
        process.stdin.close()
        for number, within in ((signal.SIGTERM, self.launch.stop_within), (signal.SIGKILL, None)):
            if process.returncode is not None:
                return
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(number)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(within):
                    await process.wait()

    def _explain(self, status: int | None) -> None:
        """Turns the end of a process into the sentence that people read."""
        if status is None or status == 0:
            how = "it ended"
        elif status < 0:
            how = f"it was killed by {signal.Signals(-status).name}"
        else:
            how = f"it ended with status {status}"
        words = " | ".join(tuple(self._lines)[-SHOWN_LINES:])
        self.last_error = f"{how}; its last words: {words}" if words else f"{how} without a word."

    def _become(self, state: State) -> None:
        if state in {State.READY, State.FAILED}:
            self._settled.set()
        else:
            self._settled.clear()
        # Every death is told, also one that follows another, and every step of a download: their words have changed then.
        told = state is self.state and state not in {State.RESTARTING, State.DOWNLOADING}
        self.state = state
        if self._on_change is not None and not told:
            self._on_change(self)

    def _left(self, supervisor: asyncio.Task[None]) -> None:
        """However the supervisor of the present ended, nobody may wait for it any longer."""
        if supervisor is self._supervisor:
            self._settled.set()
