"""The verb `fleet` of the benchmark."""

from __future__ import annotations

import shlex
import sys
from typing import Annotated

import typer
from rich.console import Console

from bench import machine
from bench.fleet import report
from bench.fleet.compare import ROUTERS, Plan, Row, run
from bench.fleet.policies import POLICIES
from bench.fleet.work import WORKLOADS
from bench.peers import OURS, PEERS, ROUTER_NAME
from bench.steps import steps

WIDTH = 140


def fleet(
    seeds: Annotated[int, typer.Option(min=1, max=15)] = 5,
    only: Annotated[str, typer.Option(help="Comma-separated workloads.")] = "",
    policies: Annotated[
        str, typer.Option(help="Comma-separated; all whose programs are installed where not given.")
    ] = "",
    name: Annotated[str, typer.Option(help="Of the result files; *-local is ignored by git.")] = "local",
) -> None:
    """Compare who sends a request where, over eight replicas on a simulated clock; write bench/results/<date>-fleet-<name>."""
    console = Console(stderr=True)
    router = PEERS[ROUTER_NAME]
    if router.missing:
        console.print(f"left out: {router.missing}")
    known = (*POLICIES, *(() if router.missing else ROUTERS))
    plan = Plan(seeds, _named(only, tuple(WORKLOADS)), _named(policies, known))
    facts = machine.describe()
    versions = {one: PEERS[one].version() for one in (OURS, ROUTER_NAME)}
    command = shlex.join(["make", "bench", f"ARGS={shlex.join(sys.argv[1:])}"])
    with steps(console) as progress:
        task = progress.add_task("", total=plan.steps)
        rows: list[Row] = []
        for row in run(plan, lambda text: progress.update(task, description=text, advance=1)):
            rows.append(row)
            if len(rows) % (plan.steps // seeds) == 0:  # a seed is complete: hours are not lost to an interruption
                report.write(report.Report(facts, versions, command, rows), name)
    made = report.Report(facts, versions, command, rows)
    report.show(made, Console(width=max(console.width, WIDTH)))
    for path in report.write(made, name):
        console.print(f"written: {path}")


def _named(names: str, known: tuple[str, ...]) -> tuple[str, ...]:
    """The chosen ones, or all."""
    chosen = tuple(filter(None, names.split(","))) or known
    unknown = [one for one in chosen if one not in known]
    if unknown:
        message = f"no {', '.join(unknown)}; there are {', '.join(known)}"
        raise typer.BadParameter(message)
    return chosen
