"""Scenario 5: how long `penstock up --once` takes: warm, and cold from a clean clone with everything still to install."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from bench.peers import OURS, PENSTOCK
from bench.processes import free_port
from bench.samples import Sample, Scenario

WARM = Scenario("start-warm", "`penstock up --once`: start, one question on each face, stop", "s", compared=False)
COLD = Scenario("start-cold", "The same from a clean clone, `make install` included", "s", compared=False)
SCENARIOS = (WARM, COLD)
WARM_RUNS = 3
REPOSITORY = Path(__file__).parent.parent


def warm_samples(directory: Path) -> Iterator[Sample]:
    """The first run may have to make its state there; the median speaks of the others."""
    for number in range(WARM_RUNS):
        yield _timed(WARM, number, [[str(PENSTOCK), "up", "--once", "--port", str(free_port())]], directory, 120)


def cold_sample(directory: Path) -> Sample:
    clone = directory / "clone"
    command = ["git", "clone", "--quiet", str(REPOSITORY), str(clone)]
    subprocess.run(command, check=True, timeout=120)
    commands = [["make", "install"], [".venv/bin/penstock", "up", "--once", "--port", str(free_port())]]
    return _timed(COLD, 0, commands, clone, 900)


def _timed(scenario: Scenario, number: int, commands: list[list[str]], directory: Path, limit: float) -> Sample:
    begin = time.monotonic()
    details: dict[str, object] = {}
    for command in commands:
        before, asked = time.monotonic(), f"{Path(command[0]).name} {command[1]}"
        try:
            run = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=limit, check=False)
        except subprocess.TimeoutExpired:
            return Sample(scenario.name, OURS, number, None, f"{asked} took more than {limit:.0f} s")
        if run.returncode != 0:
            said = " / ".join((run.stdout + run.stderr).replace(str(REPOSITORY), ".").splitlines()[-4:])
            return Sample(scenario.name, OURS, number, None, f"{asked} ended with {run.returncode}: {said}")
        details[asked] = round(time.monotonic() - before, 2)
    return Sample(scenario.name, OURS, number, time.monotonic() - begin, details=details)
