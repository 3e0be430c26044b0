"""Turn samples into tables: for the terminal, and as JSON and Markdown beside each other in bench/results."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench import leaving, peers, starting, streams, traffic
from bench.machine import Machine
from bench.rounds import SLOW_ROUNDS, SLOW_STRETCH, Plan
from bench.samples import Sample, Scenario, Spread, faults, ratios, spread, values
from bench.targets import TIMES, Verdict, verdicts

RESULTS = Path(__file__).parent / "results"
SCENARIOS: tuple[Scenario, ...] = (
    *(scenario for one in traffic.TRAFFIC for scenario in one.scenarios),
    *streams.SCENARIOS,
    *(phase.scenario for phase in leaving.PHASES),
    *starting.SCENARIOS,
)


@dataclass(frozen=True)
class Report:
    machine: Machine
    versions: Mapping[str, str]
    plan: Plan
    samples: Sequence[Sample]

    @property
    def verdicts(self) -> list[Verdict]:
        return verdicts(self.samples)


@dataclass(frozen=True)
class Grid:
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def grids(report: Report) -> list[Grid]:
    found = [_grid(report, scenario) for scenario in SCENARIOS]
    return [*(grid for grid in found if grid.rows), _verdict_grid(report)]


def _grid(report: Report, scenario: Scenario) -> Grid:
    columns = ["", f"{scenario.unit}, median [range]"]
    if scenario.compared:
        columns += [f"{TIMES} {peers.FLOOR}", f"{TIMES} {peers.ROUTER_NAME}", "p50 / p99"]
    columns += ["samples", "faults"]
    rows = []
    for peer in (peers.DIRECT.name, *(one.name for one in report.plan.peers)):
        own = [one for one in report.samples if (one.scenario, one.peer) == (scenario.name, peer)]
        if not own:
            continue
        row = [peer, _spread(spread(values(report.samples, scenario.name, peer)))]
        if scenario.compared:
            row += [_ratio(report, scenario, peer, other) for other in (peers.FLOOR, peers.ROUTER_NAME)]
            row.append(_times(own))
        wrong = faults(report.samples, scenario.name, peer)
        rows.append((*row, str(len(own)), f"{len(wrong)}: {wrong[0]}" if wrong else "0"))
    return Grid(f"{scenario.title} ({scenario.name})", tuple(columns), tuple(rows))


def _verdict_grid(report: Report) -> Grid:
    titles = {scenario.name: scenario.title for scenario in SCENARIOS}
    rows = tuple(
        (f"{titles[one.target.scenario]}{one.target.whose}", one.target.text, _spread(one.seen), one.word)
        for one in report.verdicts
    )
    return Grid("Targets of the gateway (hot lane)", ("", "target", "seen, median [range]", ""), rows)


def profile_path(name: str) -> Path:
    """Where `profile --name` writes: beside the results of that name."""
    return stem(name).with_name(f"{stem(name).name}-profile.txt")


def missed(report: Report) -> str:
    """Where to look when a target was missed; empty when none was."""
    count = sum(one.met is False for one in report.verdicts)
    profiles = sorted(RESULTS.glob("*-profile.txt"))
    if not count:
        return ""
    where = f"bench/results/{profiles[-1].name}" if profiles else "no file yet: make bench ARGS='profile --name NAME'"
    return f"{count} missed. Where the gateway's own time goes: {where}"


def _ratio(report: Report, scenario: Scenario, peer: str, other: str) -> str:
    return "1" if peer == other else _spread(spread(ratios(report.samples, scenario.name, peer, other)))


def _times(samples: Sequence[Sample]) -> str:
    """Latency of a request, or the way of a chunk from engine to client, the engine's part included: the machine's other work is in it."""
    several = [one.details[str(one.details["shown"])] for one in samples if "shown" in one.details]
    windows = [window for some in several if isinstance(some, list) for window in some if window]
    if not windows:
        return ""
    return " / ".join(_number(statistics.median(window[key] for window in windows)) for key in ("p50", "p99")) + " µs"


def _spread(seen: Spread | None) -> str:
    if seen is None:
        return "-"
    if seen.count == 1:
        return _number(seen.median)
    return f"{_number(seen.median)} [{_number(seen.low)}-{_number(seen.high)}]"


def _number(value: float) -> str:
    if math.isinf(value):
        return "never"
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}" if abs(value) < 1000 else f"{value:,.0f}"


def show(report: Report, console: Console) -> None:
    for grid in grids(report):
        table = Table(title=Text(grid.title), title_justify="left", show_lines=False)
        for number, column in enumerate(grid.columns):
            table.add_column(Text(column), justify="left" if number == 0 else "right", overflow="fold")
        for row in grid.rows:
            table.add_row(*(Text(cell) for cell in row))
        console.print(table)
    if said := missed(report):
        console.print(Text(said))


def stem(name: str) -> Path:
    """Where results of this name go, without their ending."""
    RESULTS.mkdir(exist_ok=True)
    return RESULTS / f"{date.today().isoformat()}-{name}"  # noqa: DTZ011 - the date on the bench's own wall


def write(report: Report, name: str) -> tuple[Path, Path]:
    place = stem(name)
    data, text = place.with_suffix(".json"), place.with_suffix(".md")
    data.write_text(json.dumps(_as_dict(report), indent=1, ensure_ascii=False) + "\n")
    text.write_text(_markdown(report))
    return data, text


def _as_dict(report: Report) -> dict[str, object]:
    return {
        "machine": report.machine.as_dict(),
        "versions": dict(report.versions),
        "plan": report.plan.as_dict(),
        "targets": [
            asdict(one.target) | {"seen": one.seen and _finite(asdict(one.seen)), "verdict": one.word}
            for one in report.verdicts
        ],
        "samples": [_finite(asdict(one)) for one in report.samples],
    }


def _finite(fields: dict[str, object]) -> dict[str, object]:
    """JSON has no infinity: what never happened within the limit is null, and the sample's fault says so."""
    return {key: None if isinstance(value, float) and math.isinf(value) else value for key, value in fields.items()}


def _markdown(report: Report) -> str:
    facts, plan = report.machine, report.plan
    versions = ", ".join(f"{peer} {version or '?'}" for peer, version in report.versions.items())
    lines = [
        f"# Benchmark, {date.today().isoformat()}",  # noqa: DTZ011 - as above
        "",
        f"* {facts.cpu}, {facts.cores} cores, {facts.memory_gib} GiB; {facts.system}, {facts.kernel}",
        f"* commit {facts.commit}; Python {facts.python}; {facts.compiler}; load average at the start {facts.load_average}",
        f"* {versions}",
        f"* {plan.rounds} rounds, {plan.seconds:g} s windows after {plan.warm:g} s, order shuffled with seed {plan.seed}{_slow(plan)}",
        f"* made by `{plan.command}`" if plan.command else "",
        "",
        "Ratios are formed inside a round; medians [lowest-highest]. How to read them: bench/README.md.",
    ]
    for grid in grids(report):
        lines += ["", f"## {grid.title}", "", _line(grid.columns), _line(["---"] * len(grid.columns))]
        lines += [_line(row) for row in grid.rows]
    if said := missed(report):
        lines += ["", said]
    return "\n".join(lines) + "\n"


def _slow(plan: Plan) -> str:
    slow = [peer.name for peer in plan.peers if peer.slow]
    return (
        f"; {', '.join(slow)}: {SLOW_ROUNDS} rounds of {plan.seconds * SLOW_STRETCH:g} s, too slow to fill shorter ones"
        if slow
        else ""
    )


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "/").replace("\n", " ") for cell in cells) + " |"
