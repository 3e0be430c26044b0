"""The gateway as a child process of `penstock up`: started, waited for, stopped.

It is in a process group of its own, so that Ctrl-C reaches us alone and it is told to stop exactly once. What it prints
goes to a log file whose end is shown when it fails.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType, TracebackType
from typing import Final, NoReturn, Self

import msgspec

from penstock.address import Address, parse_address
from penstock.cli.screen import note, step
from penstock.cli.talk import Gateway
from penstock.errors import EngineFault, PenstockError

POLL: Final = 0.05
READY_WITHIN: Final = 300.0
"""Seconds for an engine to load its model; a large GGUF file from a slow disk takes minutes."""
LAST_LINES: Final = 12
SIGNALLED: Final = 128
"""What a shell adds to the number of the signal that ended a process."""
GRACE: Final = 5.0
"""Seconds beyond the gateway's own drain limit before it is killed."""


class NotStarted(PenstockError):
    """The gateway ended, or did not become ready."""

    code = "not_started"


class GatewayProcess:
    """Owns the process for the length of a `with` block; leaving it stops the gateway, whatever happened."""

    def __init__(self, config: Path, log: Path, *, drain: float) -> None:
        self._log = log
        self._patience = drain + GRACE
        self._began = time.monotonic()
        self._deadline = self._began + READY_WITHIN
        with log.open("wb") as output:
            self._process = subprocess.Popen(  # noqa: S603 - our own module, in our own interpreter
                [sys.executable, "-P", "-m", "penstock.gateway.leash", "--config", str(config)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                process_group=0,
            )

    def __enter__(self) -> Self:
        # A closed terminal and a service manager's stop are the same as Ctrl-C: leave the block.
        signal.signal(signal.SIGTERM, _interrupt)
        signal.signal(signal.SIGHUP, _interrupt)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        return self._process.pid

    def address(self) -> Address:
        """The first address it serves, as it announces on stdout: with port 0 the system has chosen."""
        stdout = self._process.stdout
        if stdout is None:
            raise RuntimeError("the gateway was started with a pipe for stdout")
        line = b""
        while not line.endswith(b"\n"):
            readable, _, _ = select.select([stdout], [], [], max(0.0, self._deadline - time.monotonic()))
            piece = os.read(stdout.fileno(), 4096) if readable else b""
            if not piece:
                raise self._not_started()
            line += piece
        return parse_address(json.loads(line.splitlines()[0])["listen"][0])

    def wait_until_ready(self, gateway: Gateway, alias: str) -> float:
        """Seconds from its start until the alias can be served; NotStarted where that does not come."""
        told = ""
        while time.monotonic() < self._deadline and not self._ended_within(POLL):
            view = _look(gateway, alias)
            if view.readiness in {"ready", "degraded"}:
                return time.monotonic() - self._began
            if view.hopeless:
                raise NotStarted(f"Serving {alias}: {view.reason}", hint=f"The whole log is {self._log}.")
            if view.readiness != "starting" and view.reason != told:
                told = view.reason
                note(f"{alias} is {view.readiness}: {told}")
        raise self._not_started()

    def wait(self) -> None:
        """Until it ends by itself; KeyboardInterrupt where we are told to stop before that."""
        self._process.wait()

    def stop(self) -> int:
        """Tells it to let running requests end and to stop; its exit code. A second Ctrl-C kills it."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                with step("stopping, once running requests have ended (Ctrl-C again to stop now)"):
                    self._process.wait(self._patience)
            except (subprocess.TimeoutExpired, KeyboardInterrupt):
                self._process.kill()
                self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                pipe.close()
        code = self._process.returncode
        return code if code >= 0 else SIGNALLED - code

    def _not_started(self) -> NotStarted:
        ended = self._ended_within(GRACE) if time.monotonic() < self._deadline else False
        told = f"it ended with code {self._process.returncode}" if ended else f"not ready after {READY_WITHIN:.0f} s"
        return NotStarted(f"Starting the gateway: {told}.{self._last_words()}", hint=f"The whole log is {self._log}.")

    def _ended_within(self, seconds: float) -> bool:
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _last_words(self) -> str:
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-LAST_LINES:]
        return "".join(f"\n  {line}" for line in lines)


class _Target(msgspec.Struct):
    backend: str = ""
    kind: str = ""
    reason: str = ""


class _View(msgspec.Struct):
    """What /ready says of one alias."""

    readiness: str = "starting"
    targets: list[_Target] = []

    @property
    def reason(self) -> str:
        """Why it is not ready, each backend in its own words."""
        return "; ".join(f"{one.backend}: {one.reason}" for one in self.targets if one.reason)

    @property
    def hopeless(self) -> bool:
        """Whether waiting cannot help: an engine that we start ourselves has given up, and there is no other."""
        return self.readiness == "unavailable" and all(one.kind == "embedded" for one in self.targets)


def _look(gateway: Gateway, alias: str) -> _View:
    try:
        aliases = gateway.get("/ready", silence=2).data.get("aliases")
    except EngineFault:
        return _View()
    return msgspec.convert(aliases.get(alias, {}), _View) if isinstance(aliases, dict) else _View()


def _interrupt(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt
