"""Makes an environment and installs locked requirement files into it, showing how far it is.

Runs before anything is installed, on the standard library alone: `python3 requirements/install.py ENV PIP-ARGUMENT...`
May not choose versions: what is installed is the arguments' business, and so is whether hashes are required.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterable
from pathlib import Path

OLDEST = (3, 11)
SHOWN_ON_FAILURE = 60


def main(arguments: list[str]) -> int:
    env, *wanted = arguments
    if sys.version_info < OLDEST:
        running = ".".join(map(str, sys.version_info[:3]))
        sys.stderr.write(
            f"Penstock needs Python 3.11 or later and {sys.executable} is {running}.\n"
            "Try: make PYTHON=/path/to/python3.12\n"
        )
        return 1
    make_environment(Path(env))
    return install(Path(env), wanted) if wanted else 0


def make_environment(env: Path) -> None:
    """Debian ships venv without pip unless python3-venv is there: then the outer pip serves, from 22.3 on."""
    if (env / "bin/python").exists():
        return
    sys.stderr.write(f"· making {env}\n")
    made = subprocess.run([sys.executable, "-m", "venv", env], capture_output=True, check=False)  # noqa: S603  our own interpreter, a path from the Makefile
    if made.returncode != 0:
        subprocess.run([sys.executable, "-m", "venv", "--clear", "--without-pip", env], check=True)  # noqa: S603  likewise


def install(env: Path, wanted: list[str]) -> int:
    python = str(env / "bin/python")
    pip = [python, "-m", "pip"] if (env / "bin/pip").exists() else [sys.executable, "-m", "pip", "--python", python]
    command = [*pip, "install", "--disable-pip-version-check", "--no-input", "--progress-bar", "off", *wanted]
    began = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:  # noqa: S603  our own interpreter and the Makefile's arguments
        last = deque(show(process.stdout or ()), maxlen=SHOWN_ON_FAILURE)
    if process.returncode != 0:
        sys.stderr.write("".join(tail(list(last))))
        sys.stderr.write(f"Installing failed (exit {process.returncode}): {' '.join(command)}\n")
        sys.stderr.write("Try: look at the lines above, then run make again; it goes on where it stopped.\n")
        return process.returncode
    sys.stderr.write(f"  done in {time.monotonic() - began:.0f} s\n")
    return 0


def tail(lines: list[str]) -> list[str]:
    """From the first error on where pip names one, else the end; never its asides about unused sources."""
    told = [line for line in lines if not line.startswith("WARNING: Location")]
    first = next((n for n, line in enumerate(told) if line.startswith("ERROR")), max(0, len(told) - 15))
    return told[first:]


def show(lines: Iterable[str]) -> Iterable[str]:
    """Pass pip's lines on; on a terminal keep one line that counts them."""
    count = 0
    for line in lines:
        yield line
        if not sys.stderr.isatty():
            continue
        if line.startswith(("Collecting ", "Processing ", "Requirement already satisfied")):
            count += 1
            text = f"{count} packages, {line.split(' (from')[0].rsplit('/', 1)[-1].removeprefix('Collecting ').strip()}"
        elif line.startswith("Installing collected"):
            text = f"putting {count} packages into place"
        else:
            continue
        sys.stderr.write(f"\r\033[K  {text[: shutil.get_terminal_size().columns - 3]}")
        sys.stderr.flush()
    if sys.stderr.isatty():
        sys.stderr.write("\r\033[K")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
