"""A wall clock of our own for one process, stepped while it runs: libfaketime, with the monotonic clock left alone.

That is what NTP, an operator or a suspended machine does to a real clock: CLOCK_REALTIME jumps, CLOCK_MONOTONIC never.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from penstock.faults.scenario import NotHere


class Clock:
    """The wall clock of the processes started with `env`."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "clock"
        self.step(0)
        self.env: Mapping[str, str] = {
            "LD_PRELOAD": _library(),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_DONT_RESET": "1",
        }

    def step(self, seconds: float) -> None:
        """From now on it is so many seconds ahead of the true time, or behind it."""
        self._write(f"{seconds:+g}s")

    def pretend(self, when: str) -> None:
        """It is that moment now (`2026-03-29 01:59:58`, in the zone of the process), and goes on from there."""
        self._write(f"@{when}")

    def _write(self, text: str) -> None:
        beside = self._file.with_suffix(".new")
        beside.write_text(f"{text}\n", encoding="ascii")
        beside.replace(self._file)


def _library() -> str:
    """Where the machine keeps it: what its own command would load."""
    asked = subprocess.run(
        ["faketime", "-f", "+0s", "printenv", "LD_PRELOAD"],  # noqa: S607 - found on the path, as the needs say
        capture_output=True, text=True, check=False, timeout=10, env={**os.environ, "LD_PRELOAD": ""},
    )  # fmt: skip
    found = next((part for part in asked.stdout.split(":") if "faketime" in part), "").strip()
    if not found:
        raise NotHere(f"libfaketime is not to be had: {asked.stderr.strip() or 'its command says nothing'}")
    return found
