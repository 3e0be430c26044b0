"""The facts that a figure is worthless without: processor, kernel, Python, commit, and who else was busy."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Machine:
    cpu: str
    cores: int
    memory_gib: float
    kernel: str
    system: str
    python: str
    compiler: str
    load_average: str
    commit: str

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


def describe() -> Machine:
    return Machine(
        cpu=_field(Path("/proc/cpuinfo"), "model name"),
        cores=os.cpu_count() or 1,
        memory_gib=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        kernel=f"{platform.system()} {platform.release()}",
        system=_field(Path("/etc/os-release"), "PRETTY_NAME", separator="=").strip('"'),
        python=platform.python_version(),
        compiler=first_line(["cc", "--version"]),
        load_average=" ".join(f"{value:.1f}" for value in os.getloadavg()),
        commit=commit(),
    )


def commit() -> str:
    """The commit, and `+` when tracked files differ from it: such a figure belongs to no commit."""
    head = first_line(["git", "rev-parse", "--short=12", "HEAD"])
    changed = first_line(["git", "status", "--porcelain", "--untracked-files=no", "--", "src", "bench"])
    return head + ("+" if changed else "")


def first_line(command: list[str]) -> str:
    """The first line a command prints on either stream, or an empty string when there is no such command."""
    if shutil.which(command[0]) is None:
        return ""
    run = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    return next(iter((run.stdout + run.stderr).splitlines()), "").strip()


def _field(path: Path, name: str, separator: str = ":") -> str:
    if not path.exists():
        return platform.processor() or "unknown"
    found = re.search(rf"^{re.escape(name)}\s*{separator}\s*(.+)$", path.read_text(), re.MULTILINE)
    return found.group(1).strip() if found else "unknown"
