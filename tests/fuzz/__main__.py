"""`make fuzz`: every target under atheris for its share of the time, beginning with the corpus; what it found new can be kept."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, NamedTuple

import typer
from tests.fuzz import corpus
from tests.fuzz.targets import TARGETS

ROOT = Path(__file__).parent.parent.parent
LARGEST = 4096
INPUT_SECONDS = 10
"""An input that takes longer is a fault too."""
MEMORY_MB = 2048
UNCAUGHT = "=== Uncaught"
SHOWN = 3000
"""Characters of what is told of a fault."""
_RUNS = re.compile(r"^#(\d+)\s+\S+ +(?:cov: (\d+) )?(?:ft: (\d+))?", re.MULTILINE)

app = typer.Typer(add_completion=False)


class Outcome(NamedTuple):
    """Of one target."""

    name: str
    runs: int
    coverage: int
    seconds: float
    fault: str

    def __str__(self) -> str:
        verdict = self.fault or "nothing unexpected"
        return f"{self.name:14} {self.runs:>10,} inputs  {self.coverage:>6} places  {self.seconds:5.0f} s  {verdict}"


@app.command()
def fuzz(
    seconds: Annotated[float, typer.Option(min=1, help="Altogether.")] = 600.0,
    only: Annotated[str, typer.Option(help="Comma-separated targets.")] = "",
    keep: Annotated[bool, typer.Option("--keep", help="Add what was found to the corpus.")] = False,  # noqa: FBT002 - a flag
) -> None:
    """Try every parser with inputs that reach new code; exit 1 when one of them raised what it may not."""
    names = only.split(",") if only else list(TARGETS)
    began, outcomes = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()), list[Outcome]()
    typer.echo(f"{began}, {len(names)} targets, {seconds:g} s altogether, Python {sys.version.split()[0]}")
    for name in names:
        outcomes.append(_run(name, seconds / len(names), keep=keep))
        typer.echo(str(outcomes[-1]))
    total = sum(one.runs for one in outcomes)
    faults = sum(bool(one.fault) for one in outcomes)
    typer.echo(f"{total:,} inputs in {sum(one.seconds for one in outcomes):.0f} s; {faults} targets with a fault")
    if faults:
        raise typer.Exit(1)


def _run(name: str, seconds: float, *, keep: bool) -> Outcome:
    with tempfile.TemporaryDirectory(prefix="fuzz-") as place:
        found, faults = Path(place, "found"), Path(place, "fault-")
        found.mkdir()
        for number, data in enumerate(corpus.read(name)):
            (found / f"known-{number}").write_bytes(data)
        began = time.monotonic()
        limits = (f"-timeout={INPUT_SECONDS}", f"-rss_limit_mb={MEMORY_MB}", f"-max_len={LARGEST}")
        said, status = _fuzzer(
            name, *limits, f"-max_total_time={round(seconds)}", f"-artifact_prefix={faults}", str(found)
        )
        seen = _RUNS.findall(said)
        fault = ""
        if status:
            inputs = [file.read_bytes() for file in Path(place).glob("fault-*")]
            fault = f"FAULT with {inputs!r}\n{said[said.find(UNCAUGHT) :][:SHOWN]}"
        if keep and not status:
            # libFuzzer leaves there what reached something new, and nothing else
            corpus.write(name, [file.read_bytes() for file in found.iterdir()])
        runs, coverage = (int(seen[-1][0]), int(seen[-1][1] or 0)) if seen else (0, 0)
        return Outcome(name, runs, coverage, time.monotonic() - began, fault)


def _fuzzer(name: str, *options: str) -> tuple[str, int]:
    """What libFuzzer said of a target, and its exit status."""
    command = [sys.executable, "-m", "tests.fuzz.one", name, *options]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}"}
    run = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, errors="replace", check=False
    )
    return run.stdout + run.stderr, run.returncode


if __name__ == "__main__":
    app()
