"""The gateway under test: a process that we started, or an address that somebody gave us. Never the gateway's own code."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shlex
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from penstock.faults.scenario import Failed, NotHere
from penstock.faults.seen import Asking, request

START = 180.0
"""Seconds a gateway has to serve after its start; some import for a minute."""
STOP = 15.0
"""Seconds it has to end after SIGTERM."""
_LOOK = 0.05

Config = dict[str, Any]


class Gateway:
    """Something that answers on a URL."""

    def __init__(self, url: str) -> None:
        self.url = url

    @property
    def log(self) -> list[dict[str, Any]]:
        """The JSON lines of its log; none where we cannot read it."""
        return []

    @property
    def ours(self) -> bool:
        """Whether it is Penstock, with its figures and its log."""
        return False

    async def ready(self, model: str, limit: float = START) -> None:
        """Until it answers a small request."""
        body = {"model": model, "messages": [{"role": "user", "content": "ready?"}], "max_tokens": 4}
        asked = request("/v1/chat/completions", body)
        seen = None
        until = time.monotonic() + limit
        while time.monotonic() < until:
            self.check()
            seen = await Asking(self.url, asked, stream=False, face="openai").start().seen(limit=10.0)
            if seen.status == 200:
                return
            await asyncio.sleep(_LOOK * 4)
        raise Failed(
            f"an answer of the gateway at {self.url} within {limit:g} s was expected; the last one was: {seen}"
        )

    def check(self) -> None:
        """Raise if it is known to be gone."""


class Launched(Gateway):
    """A gateway process that we started."""

    def __init__(self, command: Sequence[str], url: str, folder: Path, env: Mapping[str, str] | None = None) -> None:
        super().__init__(url)
        self.command = tuple(command)
        self._env = {**os.environ, **(env or {})}
        self.folder = folder
        self.errors = folder / "stderr.log"
        """Everything it has written to stderr, over restarts."""
        self.process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """The process that we started; with workers or a wrapper, the one that has the others."""
        if self.process is None:
            raise Failed("a running gateway was expected, none was started")
        return self.process.pid

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.returncode is None

    def check(self) -> None:
        if not self.running:
            status = self.process.returncode if self.process is not None else None
            raise Failed(f"a running gateway was expected; it ended with status {status}: {self._tail()}")

    async def start(self) -> None:
        """Start the process; `ready` says when it serves."""
        with self.errors.open("ab") as errors, (self.folder / "stdout.log").open("ab") as out:
            self.process = await asyncio.create_subprocess_exec(
                *self.command, stdin=asyncio.subprocess.DEVNULL, stdout=out, stderr=errors, env=self._env,
                start_new_session=True,
            )  # fmt: skip

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        if self.running:
            os.kill(self.pid, number)

    async def ended(self, limit: float = STOP) -> int:
        """Wait until it has ended; its exit status."""
        if self.process is None:
            return 0
        try:
            async with asyncio.timeout(limit):
                return await self.process.wait()
        except TimeoutError:
            raise Failed(
                f"the end of the gateway within {limit:g} s was expected; it runs on. {self._tail()}"
            ) from None

    async def kill(self) -> None:
        """SIGKILL, to it and to what it started."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            await self.process.wait()

    async def restart(self, model: str = "m") -> None:
        """Start it again on the same address, after it has ended or been killed."""
        await self.kill()
        await self.start()
        await self.ready(model)

    async def stop(self) -> None:
        """SIGTERM, then SIGKILL: other gateways may end as they like."""
        if self.running:
            self.signal(signal.SIGTERM)
            with contextlib.suppress(Failed):
                await self.ended(5.0)
        await self.kill()

    def _tail(self) -> str:
        return self.errors.read_text(errors="replace")[-800:] if self.errors.exists() else ""


class Penstock(Launched):
    """Our own gateway, with a configuration written for the scenario."""

    def __init__(
        self, config: Config, folder: Path, *, prefix: Sequence[str] = (), env: Mapping[str, str] | None = None
    ) -> None:
        self.config = config
        self.file = folder / "penstock.yaml"
        # As `penstock serve` becomes it; the command line would only be read in between.
        command = (*prefix, sys.executable, "-P", "-m", "penstock.gateway", "--config", str(self.file))
        super().__init__(command, "", folder, env)
        self._announced = 0
        self.checked = True
        """False: a scenario broke it on purpose, and how it ends says nothing."""
        self.write()

    @property
    def ours(self) -> bool:
        return True

    @property
    def admin(self) -> str:
        """The path of its admin socket."""
        return str(self.config["admin"])

    def write(self, config: Config | None = None) -> None:
        """Write the configuration file; SIGHUP has it read again."""
        self.config = self.config if config is None else config
        self.file.write_text(yaml.safe_dump(self.config, sort_keys=False), encoding="utf-8")

    @property
    def log(self) -> list[dict[str, Any]]:
        lines = self.errors.read_bytes().splitlines() if self.errors.exists() else []
        return [record for line in lines if (record := _object(line)) is not None]

    async def ready(self, model: str = "m", limit: float = START) -> None:
        """Until it prints where it listens; on a restart it is to listen there again."""
        del model
        out = self.folder / "stdout.log"
        until = time.monotonic() + limit
        while time.monotonic() < until:
            lines = [line for line in out.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
            if len(lines) > self._announced:
                self._announced = len(lines)
                address = json.loads(lines[-1])["listen"][0]
                self.url = f"http://{address}"
                self.config = {**self.config, "listen": [address, *self.config["listen"][1:]]}
                self.write()
                return
            self.check()
            await asyncio.sleep(_LOOK)
        raise Failed(f"a gateway that serves within {limit:g} s was expected: {self._tail()}")

    async def stop(self) -> None:
        """SIGTERM; it must end with status 0, and its log may hold no traceback."""
        if not self.checked:
            await super().stop()
            return
        try:
            self.check()
            self.signal(signal.SIGTERM)
            status = await self.ended()
            if status:
                raise Failed(f"exit status 0 after SIGTERM was expected, seen {status}: {self._tail()}")
            if "Traceback" in (text := self.errors.read_text(errors="replace")):
                place = text.index("Traceback")
                raise Failed(f"a log without a traceback was expected, seen {text[max(0, place - 300) : place + 1500]}")
        finally:
            await self.kill()


def launched(template: str, places: Mapping[str, str | int], folder: Path) -> Launched:
    """The gateway of a command with the places `{a}`, `{b}` (host:port of the upstreams), `{host}`, `{port}`, `{dir}`."""
    command = [word.format(**places) for word in shlex.split(template)]
    return Launched(command, f"http://{places['host']}:{places['port']}", folder, {"PENSTOCK_FAULTS_DIR": str(folder)})


def free_port() -> int:
    """A port that nobody has just now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


async def eventually(holds: Callable[[], bool], what: str, limit: float = 10.0) -> None:
    """Look again and again until it holds; `Failed` when the limit has passed."""
    until = time.monotonic() + limit
    while not holds():
        if time.monotonic() > until:
            raise Failed(f"{what} within {limit:g} s was expected")
        await asyncio.sleep(_LOOK)


def _object(line: bytes) -> dict[str, Any] | None:
    if not line.startswith(b"{"):
        return None
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


__all__ = ["Config", "Gateway", "Launched", "NotHere", "Penstock", "eventually", "free_port", "launched"]
