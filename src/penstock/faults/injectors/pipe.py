"""A pipe that nobody reads, as the log of a process: what a collector of logs that hangs looks like."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

_SMALLEST = 4096


class Pipe:
    """The stderr of the process started behind `prefix`; use it as a context manager around that process."""

    def __init__(self, path: Path) -> None:
        self._path = path
        os.mkfifo(path)
        self._end = -1
        self._taken = b""

    def __enter__(self) -> Self:
        # Both ends, so that neither opening waits for the other.
        self._end = os.open(self._path, os.O_RDWR | os.O_NONBLOCK)
        fcntl.fcntl(self._end, fcntl.F_SETPIPE_SZ, _SMALLEST)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._end)

    @property
    def prefix(self) -> Sequence[str]:
        """The command in front of the process."""
        return ("sh", "-c", f'exec "$@" 2>"{self._path}"', "sh")

    def read(self) -> bytes:
        """What is in it now, and all that was read before."""
        while True:
            try:
                piece = os.read(self._end, 65536)
            except BlockingIOError:
                return self._taken
            self._taken += piece
