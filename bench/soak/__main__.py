"""`python -m bench.soak`: run, check, write; exit 1 when a claim did not hold."""

from __future__ import annotations

import asyncio
import shlex
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer
from rich.console import Console

from bench import machine
from bench.build import programs
from bench.processes import raise_file_limit
from bench.soak import report, run

console = Console(stderr=True)
app = typer.Typer(add_completion=False)


@app.command()
def soak(
    minutes: Annotated[float, typer.Option(min=0.1, max=1440)] = 20.0,
    share: Annotated[float, typer.Option(min=0.05, max=0.95, help="Of one core, for the gateway.")] = 0.7,
    rate: Annotated[float, typer.Option(min=1, max=1000, help="Requests a second that may meet faults.")] = 60.0,
    seed: Annotated[int, typer.Option(help="Of engines and clients.")] = 1,
    name: Annotated[str, typer.Option(help="Of the result files; *-local* is ignored by git.")] = "local",
) -> None:
    """Keep the gateway at that share of a core for so long, with faults; write bench/results/<date>-soak-<name>."""
    raise_file_limit()
    plan = run.Plan(minutes * 60, share, rate, seed)
    facts = machine.describe()
    with TemporaryDirectory(prefix="soak-", ignore_cleanup_errors=True) as folder:
        soaked = asyncio.run(run.soak(plan, programs(), Path(folder), lambda text: console.print(text, style="dim")))
    command = "make soak" + (f" ARGS={shlex.quote(shlex.join(sys.argv[1:]))}" if sys.argv[1:] else "")
    made = report.Report(
        facts, command, minutes, seed, soaked.samples, soaked.checks, soaked.tally, soaked.steady, soaked.records,
        soaked.faults, soaked.reloads,
    )  # fmt: skip
    for check in made.checks:
        console.print(f"{'yes' if check.held else 'NO '}  {check.claim}: {check.seen}", markup=False)
    for path in report.write(made, name):
        console.print(f"written: {path}")
    if not all(check.held for check in made.checks):
        raise typer.Exit(1)


if __name__ == "__main__":
    app()
