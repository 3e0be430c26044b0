"""The machine that measured, as far as a reader of the figures needs it. Engines may run elsewhere.

Neither host names nor addresses: a report is meant to be passed on.
"""

from __future__ import annotations

import os
import platform
from pathlib import Path

import msgspec

from penstock import __version__


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """Where the requests came from."""

    processor: str
    cores: int
    memory: int | None
    """Bytes."""
    system: str
    python: str
    penstock: str
    load: float | None
    """Processes that wanted a core in the minute before it began, on average."""


def this_machine() -> Machine:
    """As it is now."""
    return Machine(
        processor=_processor(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory=_memory(),
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        penstock=__version__,
        load=os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (OSError, ValueError):
        return None
