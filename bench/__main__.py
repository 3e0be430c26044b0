"""The benchmark's command line: `run` (also without a verb), `client`, `fleet`, `profile`, `calls`, `held`, `missing`."""

from __future__ import annotations

import shlex
import shutil
import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench import clients, counting, holding, machine, profiling, report, rounds, traffic
from bench import receipts as receipt_costs
from bench.build import programs
from bench.fleet.command import fleet
from bench.peers import OURS, PEERS, Peer
from bench.processes import raise_file_limit
from bench.steps import steps

app = typer.Typer(add_completion=False, help="Measure the gateway beside nginx, haproxy and other routers.")
console = Console(stderr=True)
WIDTH = 140
"""Of the tables, where the terminal is narrower or there is none."""

Names = Annotated[str, typer.Option(help="Comma-separated.")]


@app.callback(invoke_without_command=True)
def default(context: typer.Context) -> None:
    """Without a verb: `run` with its defaults."""
    if context.invoked_subcommand is None:
        run()


@app.command()
def run(
    peers: Annotated[str, typer.Option(help="Comma-separated names; all that are installed where not given.")] = "",
    only: Annotated[str, typer.Option(help="Comma-separated scenarios or their beginnings, e.g. request,leave.")] = "",
    count: Annotated[int, typer.Option("--rounds", min=1, max=100)] = 5,
    seconds: Annotated[float, typer.Option(min=0.2, max=60, help="One window.")] = 1.5,
    warm: Annotated[float, typer.Option(min=0.0, max=10, help="Before each window.")] = 0.5,
    seed: Annotated[int, typer.Option(help="Of the order of the peers.")] = 1,
    name: Annotated[str, typer.Option(help="Of the result files; *-local is ignored by git.")] = "local",
    cold: Annotated[bool, typer.Option("--cold", help="Also time a start from a clean clone.")] = False,  # noqa: FBT002 - a flag
) -> None:
    """Measure side by side, print tables, write bench/results/<date>-<name>.json and .md."""
    raise_file_limit()
    wanted = tuple(filter(None, only.split(",")))
    plan = rounds.Plan(_chosen(peers), count, seconds, warm, seed, wanted, cold, _command())
    facts = machine.describe()
    with steps(console) as progress:
        task = progress.add_task("starting the peers", total=plan.steps)
        built = programs()
        samples = rounds.run(plan, built, lambda text: progress.update(task, description=text, advance=1))
    versions = {peer.name: peer.version() for peer in plan.peers}
    made = report.Report(facts, versions, plan, samples)
    report.show(made, Console(width=max(console.width, WIDTH)))
    for path in report.write(made, name):
        console.print(f"written: {path}")


@app.command()
def client(
    count: Annotated[int, typer.Option("--rounds", min=1, max=200)] = 11,
    calls: Annotated[int, typer.Option(min=1, max=100_000, help="Of each library in each round and scenario.")] = 100,
    seed: Annotated[int, typer.Option(help="Of the order of the libraries.")] = 1,
    name: Annotated[str, typer.Option(help="Of the result files; *-local is ignored by git.")] = "local",
) -> None:
    """Measure what a call costs in the client library, beside others; write bench/results/<date>-client-<name>."""
    plan = clients.Plan(count, calls, seed)
    with steps(console) as progress:
        task = progress.add_task("starting the libraries", total=plan.steps)
        made = clients.run(plan, programs(), lambda text: progress.update(task, description=text, advance=1))
    clients.show(made, Console(width=max(console.width, WIDTH)))
    for path in clients.write(made, name):
        console.print(f"written: {path}")


@app.command()
def receipts(
    requests: Annotated[int, typer.Option(min=1000, max=1_000_000, help="Logged and verified.")] = 200_000,
    name: Annotated[str, typer.Option(help="Of the result files; *-local is ignored by git.")] = "local",
) -> None:
    """Measure what receipts cost: noting, logging, verifying, opening, proving; write bench/results/<date>-receipts-<name>."""
    made = receipt_costs.run(requests, lambda text: console.print(f"· {text}"))
    Console(width=WIDTH).print(receipt_costs.markdown(made, _command()), markup=False)
    for path in receipt_costs.write(made, report.stem(f"receipts-{name}"), _command()):
        console.print(f"written: {path}")


app.command()(fleet)


@app.command()
def profile(
    scenario: Annotated[str, typer.Option(help="One of the traffic scenarios.")] = "request-32",
    peer: Annotated[str, typer.Option()] = OURS,
    seconds: Annotated[float, typer.Option(min=1, max=120)] = 10.0,
    top: Annotated[int, typer.Option(min=1, max=500)] = 40,
    native: Annotated[bool, typer.Option("--native", help="With the frames of C extensions.")] = False,  # noqa: FBT002 - a flag
    name: Annotated[
        str, typer.Option(help="Also write bench/results/<date>-<name>-profile.txt, after what is there.")
    ] = "",
) -> None:
    """Show which functions of the gateway the time goes to under load."""
    kind = _traffic(scenario)
    (chosen,) = _chosen(peer)
    seen = profiling.profile(chosen, kind, programs(), seconds, native=native)
    table = Table("own %", "under %", "function", title=f"{peer}, {scenario}, {seen.total} samples")
    for function, count in seen.own.most_common(top):
        table.add_row(
            f"{100 * count / seen.total:.1f}", f"{100 * seen.under[function] / seen.total:.1f}", Text(function)
        )
    busy = seen.user + seen.system or 1.0
    cost = seen.sample.fault or f"{seen.sample.value:.1f} {kind.scenario.unit} (the profiler slows it)"
    said = f"{cost}; user mode {100 * seen.user / busy:.0f} %, kernel {100 * seen.system / busy:.0f} % of its CPU time"
    output = Console(width=max(console.width, WIDTH), record=bool(name))
    output.print(table)
    output.print(said)
    if name:
        path = report.profile_path(name)
        with path.open("a") as file:
            file.write(f"{_command()}, at commit {machine.commit()}\n\n{output.export_text()}\n")
        console.print(f"written: {path}")


@app.command()
def calls(
    scenario: Annotated[str, typer.Option(help="One of the traffic scenarios.")] = "request-32",
    peer: Annotated[str, typer.Option()] = OURS,
    seconds: Annotated[float, typer.Option(min=1, max=120)] = 5.0,
    top: Annotated[int, typer.Option(min=1, max=500)] = 60,
) -> None:
    """Count the Python calls that one request costs the gateway."""
    kind = _traffic(scenario)
    (chosen,) = _chosen(peer)
    functions, units = counting.count(chosen, kind, programs(), seconds)
    total = sum(one.calls for one in functions)
    table = Table("calls", "own µs", "under µs", "function", title=f"{peer}, {scenario}: each of {units:,.0f}")
    for one in functions[:top]:
        table.add_row(f"{one.calls:.1f}", f"{one.own_us:.1f}", f"{one.under_us:.1f}", Text(one.function))
    output = Console(width=max(console.width, WIDTH))
    output.print(table)
    output.print(f"{total:.0f} calls each; the times are cProfile's, several times the true ones")


@app.command()
def held(
    peer: Annotated[str, typer.Option()] = OURS,
    top: Annotated[int, typer.Option(min=1, max=500)] = 40,
) -> None:
    """Show which lines of the gateway hold memory for an idle stream."""
    raise_file_limit()
    (chosen,) = _chosen(peer)
    places = holding.places(chosen, programs())
    table = Table("bytes", "objects", "line", title=f"{peer}: held for each idle stream")
    for one in places[:top]:
        table.add_row(f"{one.bytes:,.0f}", f"{one.objects:.1f}", Text(one.where))
    output = Console(width=max(console.width, WIDTH))
    output.print(table)
    output.print(f"{sum(one.bytes for one in places) / 1024:.1f} KiB each, seen by tracemalloc")


def _traffic(name: str) -> traffic.Traffic:
    kinds = {one.scenario.name: one for one in traffic.TRAFFIC}
    if name not in kinds:
        message = f"no traffic scenario {name!r}; there are {', '.join(kinds)}"
        raise typer.BadParameter(message)
    return kinds[name]


@app.command()
def missing() -> None:
    """Say what is not installed and how to get it; exit 1 if anything is absent."""
    absent = _absent(PEERS.values())
    for line in absent:
        typer.echo(line)
    if absent:
        raise typer.Exit(1)
    typer.echo("everything is installed")


def _absent(wanted: object) -> list[str]:
    tools = [] if shutil.which("cc") else ["no C compiler `cc`; run bench/install, or install gcc or clang"]
    return tools + [peer.missing for peer in wanted if isinstance(peer, Peer) and peer.missing]  # type: ignore[attr-defined]


def _chosen(names: str) -> tuple[Peer, ...]:
    """The named peers, all of which must be there; or, with no names, those that are, with a word about the others."""
    if names:
        unknown = [name for name in names.split(",") if name not in PEERS]
        if unknown:
            message = f"no peer {', '.join(unknown)}; there are {', '.join(PEERS)}"
            raise typer.BadParameter(message)
        chosen = tuple(PEERS[name] for name in names.split(","))
        if absent := _absent(chosen):
            raise SystemExit("\n".join(absent))
        return chosen
    for line in _absent(PEERS.values()):
        console.print(f"left out: {line}", style="yellow")
    return tuple(peer for peer in PEERS.values() if not peer.missing)


def _command() -> str:
    """What was typed, as the Makefile takes it."""
    arguments = shlex.join(sys.argv[1:])
    return f'make bench ARGS="{arguments}"' if arguments else "make bench"


if __name__ == "__main__":
    app()
