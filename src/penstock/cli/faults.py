"""`penstock faults`: the faults a gateway must survive, set upon ours or any other, and a table of what came of each."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated

import msgspec
import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Column, Table
from rich.text import Text

from penstock.cli.screen import err, note, out, print_json, step
from penstock.errors import ConfigError, PenstockError
from penstock.faults.catalogue import ROWS, built, collect
from penstock.faults.gateways import Gateway
from penstock.faults.run import Result, RowResult, State, by_row, run
from penstock.faults.scenario import Failed, Scenario
from penstock.faults.site import MODEL, engines
from penstock.faults.stand import Stand

PORTS = (18001, 18002)
"""Where A and B listen for a gateway that somebody else configures."""
WAIT = 600.0
"""Seconds that somebody has to configure that gateway."""
_STYLES = {State.PASSED: "green", State.FAILED: "bold red", State.NOT_APPLICABLE: "yellow", State.NOT_BUILT: "dim"}


class Matrix(msgspec.Struct, frozen=True, kw_only=True):
    """One run, as programs read it."""

    gateway: str
    """`penstock`, the command, or the URL."""
    built: float
    of: float
    passed: int
    failed: int
    not_applicable: int
    not_built: int
    seconds: float
    rows: tuple[RowResult, ...]


def faults(  # noqa: PLR0913 - one parameter an option
    *,
    against: Annotated[str, typer.Option(help="URL of a gateway that runs already.", metavar="URL")] = "",
    launch: Annotated[
        str,
        typer.Option(
            help="Command that starts one; {a} {b} {host} {port} {dir} stand for addresses and a folder.", metavar="CMD"
        ),
    ] = "",
    keep: Annotated[
        bool,
        typer.Option(
            "--keep",
            help="Start the command once for all scenarios; those that need a process of their own are left out.",
        ),
    ] = False,
    row: Annotated[list[int] | None, typer.Option(help="Only this row; may be given again.", metavar="N")] = None,
    only: Annotated[str, typer.Option(help="Only scenarios whose name holds this.", metavar="TEXT")] = "",
    ports: Annotated[str, typer.Option(help="Where the two upstreams listen, with --against.", metavar="A,B")] = "",
    jobs: Annotated[int, typer.Option(help="Scenarios at the same time; 0: two for each processor.", min=0)] = 0,
    rounds: Annotated[
        int, typer.Option(help="The whole matrix so many times; ends with the first failure.", min=1)
    ] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="The results as one JSON document.")] = False,
) -> None:
    """Set every fault of the catalogue upon a gateway and show what its clients see.

    Without an option the gateway is Penstock itself. What cannot be asked of another gateway is told as not applicable, what is not
    built yet as not built; neither counts as passed. Exit code 1 if a scenario failed.
    """
    if keep and not launch:
        raise ConfigError("--keep is of use with --launch alone.", hint="Leave it out.")
    stand = Stand(launch=launch, against=against, ports=_ports(ports) if against or ports else (0, 0))
    if launch and against:
        raise ConfigError("--launch and --against exclude each other.", hint="Give one of them.")
    found = collect()
    chosen = tuple(one for one in found if (not row or one.row in row) and only in one.name)
    if not chosen:
        raise _nothing_chosen(row or [], only)
    rows = frozenset(one.row for one in chosen) if only else frozenset(row or ())
    if against:
        _tell_addresses(stand)
    failed = False
    for number in range(1, rounds + 1):
        begin = time.monotonic()
        results = asyncio.run(_run(chosen, stand, jobs or _jobs(stand), keep=keep))
        matrix = _matrix(results, found, stand, rows=rows, seconds=time.monotonic() - begin)
        failed = matrix.failed > 0
        _tell(matrix, as_json=as_json, brief=rounds > 1 and not failed, number=number if rounds > 1 else 0)
        if failed:
            break
    if failed:
        raise typer.Exit(1)


def _ports(text: str) -> tuple[int, int]:
    if not text:
        return PORTS
    words = text.split(",")
    if len(words) != 2 or not all(word.isdecimal() and 0 < int(word) < 65536 for word in words):
        raise ConfigError(f"--ports {text}: two ports are expected.", hint="--ports 18001,18002")
    return int(words[0]), int(words[1])


def _jobs(stand: Stand) -> int:
    return 1 if stand.shared else 2 * (os.cpu_count() or 1)


def _tell_addresses(stand: Stand) -> None:
    a, b = stand.ports
    note(f"give the gateway at {stand.against} two upstreams, with the model {MODEL!r} on both:")
    note(f"  A, preferred:     http://127.0.0.1:{a}/v1")
    note(f"  B, its fallback:  http://127.0.0.1:{b}/v1")
    note("limits as in docs/howto/faults.md. Both listen while a scenario runs and while it is waited for.")


async def _run(chosen: Sequence[Scenario], stand: Stand, jobs: int, *, keep: bool) -> tuple[Result, ...]:
    if stand.against:
        with step(f"waiting until {stand.against} answers"):
            await _configured(stand)
    with _shown(len(chosen)) as (began, ended):
        if not keep:
            return await run(chosen, stand, jobs=jobs, began=began, ended=ended)
        try:
            async with stand.kept() as shared:
                return await run(chosen, shared, jobs=1, began=began, ended=ended)
        except Failed as failure:
            raise PenstockError(f"Starting the gateway: {failure}", hint="Does the command run by itself?") from None


async def _configured(stand: Stand) -> None:
    """Both upstreams listen until the gateway answers with one of them."""
    try:
        async with engines(stand.ports):
            await Gateway(stand.against).ready(MODEL, WAIT)
    except Failed as failure:
        raise PenstockError(f"Waiting for the gateway: {failure}", hint="Is it running, with both upstreams?") from None
    except OSError as error:
        ports = " and ".join(map(str, stand.ports))
        raise PenstockError(
            f"Listening on the ports {ports}: {error.strerror}.", hint="--ports takes others."
        ) from None


@contextmanager
def _shown(total: int) -> Iterator[tuple[Callable[[Scenario], None], Callable[[Result], None]]]:
    """What runs: a bar on a terminal, a line for each scenario elsewhere."""
    if not err.is_terminal:
        yield lambda _: None, lambda result: err.print(Text(f"· {_line(result)}"))
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=err, transient=True) as progress:
        task = progress.add_task("", total=total)
        running: list[str] = []

        def began(scenario: Scenario) -> None:
            running.append(scenario.id)
            progress.update(task, description=" ".join(running))

        def ended(result: Result) -> None:
            running.remove(f"{result.row:02d}-{result.name}")
            progress.update(task, advance=1, description=" ".join(running))
            if result.state is State.FAILED:
                progress.console.print(Text(_line(result), "red"))

        yield began, ended


def _line(result: Result) -> str:
    reason = f": {result.reason}" if result.reason else ""
    return f"{result.row:02d}-{result.name} {result.state.value}, {result.seconds:.1f} s{reason}"


def _nothing_chosen(rows: Sequence[int], only: str) -> ConfigError:
    """Why there is nothing to run: no such row, one that is not built yet, or no such name."""
    later = [f"row {row.number} ({row.title}) {row.later}" for row in ROWS if row.number in rows and row.weight == 0]
    if later:
        return ConfigError(f"Not built yet: {'; '.join(later)}.", hint="Leave it out; the table lists it as not built.")
    asked = f"rows {', '.join(map(str, rows))}" if rows else "any row"
    named = f" with {only!r} in its name" if only else ""
    return ConfigError(
        f"No scenario of {asked}{named}.", hint=f"Rows go from 1 to {len(ROWS)}: docs/reference/faults.md"
    )


def _matrix(
    results: Sequence[Result], found: tuple[Scenario, ...], stand: Stand, rows: Collection[int], seconds: float
) -> Matrix:
    told = tuple(one for one in by_row(results) if not rows or one.row in rows)
    count = Counter(one.state for one in told)
    there, of = built(found)
    return Matrix(
        gateway=stand.launch or stand.against or "penstock",
        built=there,
        of=of,
        passed=count[State.PASSED],
        failed=count[State.FAILED],
        not_applicable=count[State.NOT_APPLICABLE],
        not_built=count[State.NOT_BUILT],
        seconds=round(seconds, 1),
        rows=told,
    )


def _tell(matrix: Matrix, *, as_json: bool, brief: bool, number: int) -> None:
    if as_json:
        print_json(msgspec.to_builtins(matrix))
        return
    if number:
        out.print(f"{time.strftime('%H:%M:%S')} round {number}: {_sums(matrix)}")
    if brief:
        return
    table = Table("row", "fault", Column("result", no_wrap=True), "", box=None, pad_edge=False, header_style="dim")
    for row in matrix.rows:
        table.add_row(str(row.row), Text(row.title), Text(row.state.value, _STYLES[row.state]), Text(_remark(row)))
    out.print(table)
    for one in (one for row in matrix.rows for one in row.scenarios if one.state is State.FAILED):
        out.print(Text.assemble(f"\n{one.row} {one.name}: {one.expected}\n", (f"  {one.reason}", "red")))
    out.print(f"\n{_built(matrix)}\n{_sums(matrix)}")


def _remark(row: RowResult) -> str:
    count = Counter(one.state for one in row.scenarios)
    parts = [f"{count[State.PASSED]}/{len(row.scenarios)} scenarios"] if row.scenarios else []
    if row.state is State.PASSED and count[State.NOT_APPLICABLE]:
        parts.append(f"{count[State.NOT_APPLICABLE]} not applicable")
    parts += [f"not built: {row.later}"] if row.later else []
    notes = [note for one in row.scenarios for note in one.notes]
    return "; ".join([*parts, *notes])


def _built(matrix: Matrix) -> str:
    whole = sum(not one.later for one in matrix.rows if one.scenarios)
    half = sum(bool(one.later) for one in matrix.rows if one.scenarios)
    return f"{matrix.built:g}/{matrix.of:g} built: {whole} rows whole, {half} in part (each counts half)"


def _sums(matrix: Matrix) -> str:
    return (
        f"{matrix.passed} passed, {matrix.failed} failed, {matrix.not_applicable} not applicable, "
        f"{matrix.not_built} not built, in {matrix.seconds:.0f} s"
    )
