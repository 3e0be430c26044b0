"""The comparison as tables and plots: on the terminal, and as JSON, Markdown and SVG in bench/results."""

from __future__ import annotations

import inspect
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.fleet import work
from bench.fleet.compare import ENGINE, FIGURES, ROUTERS, Figure, Row, interval, seen, verdicts
from bench.fleet.simulation import PROBE, REPLICAS, WARM
from bench.machine import Machine
from penstock.bench.plots import drawing

RESULTS = Path(__file__).parent.parent / "results"
COLOURS = ("#2563eb", "#9ca3af", "#6b7280", "#374151", "#d97706", "#fbbf24", "#059669", "#9333ea")


@dataclass(frozen=True)
class Report:
    machine: Machine
    versions: dict[str, str]
    command: str
    rows: Sequence[Row]


Grid = tuple[str, list[str], list[list[str]]]


def grids(report: Report) -> list[Grid]:
    return [*(_grid(report, workload) for workload in _workloads(report)), _judged(report)]


def _workloads(report: Report) -> list[str]:
    return list(dict.fromkeys(one.workload for one in report.rows))


def _policies(report: Report, workload: str) -> list[str]:
    return list(dict.fromkeys(one.policy for one in report.rows if one.workload == workload))


def _grid(report: Report, workload: str) -> Grid:
    columns = ["policy", *(f"{figure.title}{f', {figure.unit}' if figure.unit else ''}" for figure in FIGURES)]
    lines = []
    for policy in _policies(report, workload):
        cells = [_cell(report, workload, policy, figure) for figure in FIGURES]
        lines.append([policy, *cells])
    requests = sum(one.outcome.requests for one in report.rows if one.workload == workload)
    runs = sum(one.workload == workload for one in report.rows)
    return f"{workload}, {requests // max(1, runs):,} requests counted in each run", columns, lines


def _cell(report: Report, workload: str, policy: str, figure: Figure) -> str:
    if policy in ROUTERS and not figure.real:
        return "-"
    found = interval(seen(report.rows, workload, policy, figure))
    return f"{found.mean:.{_digits(figure, found.mean)}f} ± {found.high - found.mean:.{_digits(figure, found.mean)}f}"


def _digits(figure: Figure, value: float) -> int:
    return 3 if not figure.unit else 0 if value >= 1000 else 1


def _judged(report: Report) -> Grid:
    columns = ["workload", "figure", "best of the others", "we are behind it by, %", "verdict"]
    lines = [
        [one.workload, one.figure.title, one.rival, _range(one.behind.low, one.behind.mean, one.behind.high), one.word]
        for one in verdicts(report.rows)
    ]
    return "penstock beside the best of the others, seed by seed (below 0: ahead)", columns, lines


def _range(low: float, mean: float, high: float) -> str:
    return f"{mean:+.1f} [{low:+.1f}, {high:+.1f}]"


def show(report: Report, console: Console) -> None:
    for title, columns, lines in grids(report):
        table = Table(title=Text(title), title_justify="left")
        for place, column in enumerate(columns):
            table.add_column(Text(column), justify="left" if place == 0 else "right")
        for line in lines:
            table.add_row(*map(Text, line))
        console.print(table)


def write(report: Report, name: str) -> list[Path]:
    RESULTS.mkdir(exist_ok=True)
    stem = RESULTS / f"{date.today().isoformat()}-fleet-{name}"  # noqa: DTZ011 - the date on the bench's own wall
    data, text = stem.with_suffix(".json"), stem.with_suffix(".md")
    data.write_text(json.dumps(_as_dict(report), indent=1, ensure_ascii=False) + "\n")
    plots = [
        (stem.with_name(stem.name.replace("fleet", f"fleet-{figure.field.replace('_', '-')}", 1) + ".svg"), figure)
        for figure in FIGURES
    ]
    for path, figure in plots:
        path.write_text(plot(report, figure) + "\n")
    text.write_text(_markdown(report, [path.name for path, _ in plots]))
    return [data, text, *(path for path, _ in plots)]


def _as_dict(report: Report) -> dict[str, object]:
    return {
        "machine": report.machine.as_dict(),
        "versions": report.versions,
        "command": report.command,
        "engine": asdict(ENGINE),
        "fleet": {"replicas": REPLICAS, "probe": PROBE, "warm": WARM},
        "workloads": {name: _about(name) for name in _workloads(report)},
        "verdicts": [
            {"workload": one.workload, "figure": one.figure.field, "rival": one.rival, **asdict(one.behind), "word": one.word}
            for one in verdicts(report.rows)
        ],
        "rows": [one.as_dict() for one in report.rows],
    }  # fmt: skip


def _about(workload: str) -> str:
    return inspect.cleandoc(work.WORKLOADS[workload].__doc__ or "")


def _markdown(report: Report, plots: Sequence[str]) -> str:
    facts = report.machine
    seeds = len({one.seed for one in report.rows})
    versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    lines = [
        f"# Routing over a fleet, {date.today().isoformat()}",  # noqa: DTZ011 - as above
        "",
        f"* `{report.command}`; {seeds} seeds; commit {facts.commit}; Python {facts.python}; {versions}",
        f"* {REPLICAS} replicas on a simulated clock: {_speeds()}",
        f"* run on {facts.cpu}, {facts.cores} cores; simulated figures do not depend on it",
        f"* the first {100 * WARM:.0f} % of the requests are served and not counted",
        "* means with 95 % intervals over the seeds",
        "* vllm-router is a real process, driven in step with the simulated clock and compared on hit rate and imbalance only",
        "",
        "What is measured and how to read it: bench/README.md.",
    ]
    for title, columns, cells in grids(report):
        lines += ["", f"## {title}", ""]
        name = title.partition(",")[0]
        if name in work.WORKLOADS:
            lines += [_about(name), ""]
        lines += [_line(columns), _line(["---"] * len(columns)), *map(_line, cells)]
    lines += ["", "## Plots", "", *(f"![{name}]({name})\n" for name in plots)]
    return "\n".join(lines).rstrip() + "\n"


def _speeds() -> str:
    return (
        f"{ENGINE.blocks:,} blocks of {work.BLOCK} tokens each, {1 / ENGINE.read:,.0f} prompt tokens a second, "
        f"{1000 * ENGINE.step:g} ms a step and {1000 * ENGINE.write:g} ms for each answer in it, {ENGINE.budget} tokens a step"
    )


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def plot(report: Report, figure: Figure) -> str:
    """One bar for each policy in each workload, with its interval; the scale of times is logarithmic."""
    from pygal.style import Style  # type: ignore[import-untyped]  # noqa: PLC0415 - an extra

    chart = drawing().Bar(
        title=figure.title, y_title=figure.unit or "times the mean", js=(), disable_xml_declaration=True, width=900,
        height=420, legend_at_bottom=True, legend_at_bottom_columns=4, truncate_legend=-1, truncate_label=-1,
        logarithmic=figure.unit != "%",
        style=Style(background="white", plot_background="white", colors=COLOURS, font_family="system-ui, sans-serif"),
    )  # fmt: skip
    workloads = _workloads(report)
    chart.x_labels = workloads
    for policy in _policies(report, workloads[0]):
        if policy in ROUTERS and not figure.real:
            continue
        found = [interval(seen(report.rows, workload, policy, figure)) for workload in workloads]
        chart.add(policy, [{"value": one.mean, "ci": {"low": one.low, "high": one.high}} for one in found])
    drawn: str = chart.render(is_unicode=True)
    return drawn
