"""Limits set on a process that runs, and what it uses of a processor."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def descriptors(pid: int, spare: int) -> Iterator[int]:
    """It may open so many more files and sockets than it has; the limit as it was comes back afterwards."""
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    limit = max(int(fd.name) for fd in Path(f"/proc/{pid}/fd").iterdir()) + 1 + spare
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (limit, before[1]))
    try:
        yield limit
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)


def used(pid: int) -> float:
    """Seconds of a processor that it has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
