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

from penstock.address import Address, parse_address
from penstock.cli.screen import step
from penstock.cli.talk import Gateway
from penstock.errors import PenstockError, Unreachable

POLL: Final = 0.05
READY_WITHIN: Final = 300.0
"""Seconds for an engine to load its model; a large GGUF file from a slow disk takes minutes."""
LAST_LINES: Final = 12
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
                [sys.executable, "-P", "-m", "penstock.gateway", "--config", str(config)],
                stdin=subprocess.DEVNULL,
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

    def wait_until_ready(self, gateway: Gateway) -> float:
        """Seconds from its start until /ready answered 200. NotStarted, with the log's end, where that does not come."""
        while time.monotonic() < self._deadline:
            try:
                status = gateway.get("/ready", silence=2).status
            except Unreachable:
                status = 0
            if status == 200:
                return time.monotonic() - self._began
            if self._ended_within(POLL):
                break
        raise self._not_started()

    def wait(self) -> int:
        """Until it ends by itself or we are interrupted; its exit code."""
        try:
            return self._process.wait()
        except KeyboardInterrupt:
            return self.stop()

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
        if self._process.stdout:
            self._process.stdout.close()
        return self._process.returncode

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


def _interrupt(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt
