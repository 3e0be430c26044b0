"""Read what a tree of processes costs: CPU time and memory. Linux only.

CPU time comes from the processes' CPU clocks (`clock_getcpuclockid`): nanoseconds, every thread, those that ended included. The
ticks in /proc/<pid>/stat are 10 ms each, too coarse for a one-second window, and schedstat is missing from some kernels.
"""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
CPU_CLOCK = 2  # CPUCLOCK_SCHED in the kernel's encoding of a process clock, see clock_getcpuclockid(3)


@dataclass(frozen=True)
class Memory:
    """Bytes. `pss` is the whole tree's, shared pages counted once; `resident` is the largest single process'."""

    pss: int
    resident: int


def tree(root: int) -> tuple[int, ...]:
    """The process and all that descend from it, parents first."""
    children: dict[int, list[int]] = defaultdict(list)
    for entry in PROC.iterdir():
        if entry.name.isdigit() and (parent := _parent(entry)) is not None:
            children[parent].append(int(entry.name))
    found = [root]
    for pid in found:
        found.extend(sorted(children[pid]))
    return tuple(found)


def _parent(entry: Path) -> int | None:
    try:
        status = (entry / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None  # it ended while we looked
    return int(status.rpartition(")")[2].split()[1])


def cpu_seconds(pids: tuple[int, ...]) -> float:
    return sum(time.clock_gettime_ns((~pid << 3) | CPU_CLOCK) for pid in pids) / 1e9


def user_and_system(pids: tuple[int, ...]) -> tuple[float, float]:
    """Seconds in user mode and in the kernel, at 10 ms resolution: for shares over ten seconds, not for small windows."""
    user = system = 0.0
    for pid in pids:
        fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
        user += int(fields[11]) / 100
        system += int(fields[12]) / 100
    return user, system


def memory(pids: tuple[int, ...]) -> Memory:
    pss = resident = 0
    for pid in pids:
        fields = dict(_kilobytes(line) for line in (PROC / str(pid) / "smaps_rollup").read_text().splitlines()[1:])
        pss += fields["Pss"] * 1024
        resident = max(resident, fields["Rss"] * 1024)
    return Memory(pss=pss, resident=resident)


def _kilobytes(line: str) -> tuple[str, int]:
    name, _, value = line.partition(":")
    return name, int(value.split()[0])
