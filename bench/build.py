"""Compile the two C programs, once per version of their source."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
FLAGS = ("-std=gnu11", "-O2", "-Wall", "-Wextra")


@dataclass(frozen=True)
class Programs:
    load: Path
    engine: Path


def programs() -> Programs:
    """Both programs, built into bench/.build under a name that changes with the source."""
    return Programs(load=_built("load"), engine=_built("engine"))


def _built(name: str) -> Path:
    source = HERE / f"{name}.c"
    digest = hashlib.sha256(source.read_bytes() + (HERE / "wire.h").read_bytes() + " ".join(FLAGS).encode()).hexdigest()
    program = HERE / ".build" / f"{name}-{digest[:12]}"
    if program.exists():
        return program
    compiler = shutil.which("cc")
    if compiler is None:
        message = f"building {source.name}: no C compiler `cc` on the PATH; run bench/install, or install gcc or clang"
        raise SystemExit(message)
    program.parent.mkdir(exist_ok=True)
    unfinished = program.with_suffix(".new")
    command = [compiler, *FLAGS, "-o", str(unfinished), str(source)]
    outcome = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if outcome.returncode != 0:
        message = f"building {source.name}: cc failed\n{outcome.stderr}"
        raise SystemExit(message)
    unfinished.rename(program)
    return program
