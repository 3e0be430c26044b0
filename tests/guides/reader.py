"""Somebody who follows a guide: an empty folder, a shell, and a terminal beside it for what serves.

The ports that a guide names are free ones here; everything else is done as the guide says.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

from tests.cli.console import clean
from tests.guides.page import Block

PORTS = (8000, 8001, 11434)
"""What the guides call the gateway's port, vLLM's and Ollama's."""
LIMIT = 50.0
SHELL = "set -euo pipefail\n"
PUT_DOWN = '\nenv -0 > "$READERS_ENVIRONMENT"\n'


class Reader:
    """Use as a context: what was started is ended."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = dict(zip(map(str, PORTS), map(str, free_ports(len(PORTS))), strict=True))
        self.printed = ""
        """What the last block printed, errors included."""
        self._put_down = folder.parent / f"{folder.name}.environment"
        self._environment = clean(
            {
                "PWD": str(folder),
                "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
                "READERS_ENVIRONMENT": str(self._put_down),
                "COLUMNS": "160",
            }
        )
        self._groups: list[int] = []
        self._serving: subprocess.Popen[bytes] | None = None
        self._log = folder.parent / f"{folder.name}.log"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._serving is not None:
            self._end(self._serving)
        for group in self._groups:
            _end_group(group)

    def follow(self, block: Block) -> None:
        """Do what the guide says; AssertionError with the place in the guide where that fails."""
        if block.file:
            Path(self._environment["PWD"], block.file).write_text(self._here(block.text), encoding="utf-8")
        elif block.fate == "gpu" or block.by:
            return
        elif block.language == "text":
            self._compare(block)
        elif block.fate in {"serve", "takeover"}:
            self._serve(block)
        else:
            self._run(block)

    def _here(self, text: str) -> str:
        """The block with this reader's ports."""
        return re.sub(rf"\b({'|'.join(self.ports)})\b", lambda found: self.ports[found[1]], text)

    def _run(self, block: Block) -> None:
        text = self._here(block.text)
        python = block.language == "python"
        command = [sys.executable, "-W", "error", "-c", text] if python else ["bash", "-c", SHELL + text + PUT_DOWN]
        # Into a file: a process that the block leaves behind would keep a pipe open.
        with self._log.open("w+b") as log:
            process = subprocess.Popen(
                command,
                cwd=self._environment["PWD"],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            self._groups.append(process.pid)
            status = process.wait(LIMIT)
        self.printed = self._log.read_text(encoding="utf-8", errors="replace")
        assert (status != 0) == (block.fate == "fails"), f"{block.place} ended with {status}:\n{text}\n{self.printed}"
        if self._put_down.exists():
            pairs = (one.split("=", 1) for one in self._put_down.read_text(encoding="utf-8").split("\0") if "=" in one)
            self._environment = dict(pairs)

    def _serve(self, block: Block) -> None:
        former, name = self._serving, self.folder / f"serving-{block.line}.log"
        if former is not None and block.fate == "serve":
            self._end(former)
        with name.open("wb") as log:
            self._serving = subprocess.Popen(
                ["bash", "-c", f"{SHELL}exec env {self._here(block.text).strip()}"],  # noqa: S607 - bash of whoever tests
                cwd=self._environment["PWD"],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        until(lambda: '{"listen"' in name.read_text() or self._serving_ended(), f"{block.place}: it does not serve")
        assert not self._serving_ended(), f"{block.place}:\n{name.read_text()}"
        if former is not None and block.fate == "takeover":
            assert former.wait(LIMIT) == 0, f"{block.place}: the former process ended with {former.returncode}"

    def _serving_ended(self) -> bool:
        return self._serving is None or self._serving.poll() is not None

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        """Ctrl-C."""
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        status = process.wait(LIMIT)
        assert status == 0, f"what served ended with {status}"

    def _compare(self, block: Block) -> None:
        at = 0
        for line in self._here(block.text).splitlines():
            pattern = ".*?".join(re.escape(part) for part in line.strip().split("…"))
            found = re.compile(pattern).search(self.printed, at)
            assert found, f"{block.place} promises «{line}», and it printed:\n{self.printed}"
            at = found.end()


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports: list[int] = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def until(holds: Callable[[], bool], otherwise: str) -> None:
    """Look until it holds."""
    deadline = time.monotonic() + LIMIT
    while not holds():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.02)


def _end_group(group: int) -> None:
    """What a block left running, with the number of the process that ran the block."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGTERM)
    until(lambda: not _runs(group), f"process group {group} does not end")


def _runs(group: int) -> bool:
    """Whether the group has a process that is not merely waiting for somebody to take note of its end."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, its = stat.read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()[:3]
        except (OSError, ValueError):  # ended between the two looks
            continue
        if int(its) == group and state != "Z":
            return True
    return False
