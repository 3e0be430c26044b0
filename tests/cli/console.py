"""The real `penstock` script in a process of its own, in an empty folder and a clean environment."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from penstock.environment import NAMES
from penstock.sources import OWN_NAMES

SCRIPT = Path(sys.executable).with_name("penstock")
LIMIT = 50.0
"""Against a hang; nothing here is measured."""


class Done(NamedTuple):
    """What a command printed and how it ended."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:  # noqa: ANN401 - whatever the command's JSON holds
        return json.loads(self.out)


def clean(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Our environment without the names that Penstock reads, and with a screen that never wraps what a test looks for."""
    kept = {name: value for name, value in os.environ.items() if name not in {*NAMES, *OWN_NAMES, "OLLAMA_ORIGINS"}}
    return {**kept, "COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb", **(extra or {})}


def run(folder: Path, *arguments: str, given: str = "", env: Mapping[str, str] | None = None) -> Done:
    """The command's end."""
    done = subprocess.run(
        [SCRIPT, *arguments],
        cwd=folder,
        env=clean(env),
        input=given,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)


@contextmanager
def started(folder: Path, *arguments: str, env: Mapping[str, str] | None = None) -> Iterator[subprocess.Popen[str]]:
    """The command while it runs; interrupted and waited for at the end, if it has not ended by then."""
    process = subprocess.Popen(
        [SCRIPT, *arguments],
        cwd=folder,
        env=clean(env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
                process.communicate(timeout=LIMIT)


def first_document(process: subprocess.Popen[str]) -> dict[str, Any]:
    """The JSON document that the command prints before it goes on."""
    lines: list[str] = []
    assert process.stdout is not None
    for line in process.stdout:
        lines.append(line)
        if line == "}\n":
            return json.loads("".join(lines))  # type: ignore[no-any-return]
    assert process.stderr is not None
    raise AssertionError(f"it ended instead of printing a document: {process.stderr.read()}")
