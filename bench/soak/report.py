"""A soak as files beside the benchmark's: JSON with every sample, a page, and two plots."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

from bench.machine import Machine
from bench.soak.clients import Tally
from bench.soak.gateway import Records, Sample
from bench.soak.verdicts import Check, Steady
from penstock.bench.plots import Points, curves

RESULTS = Path(__file__).parent.parent / "results"


@dataclass(frozen=True)
class Report:
    machine: Machine
    command: str
    minutes: float
    seed: int
    samples: Sequence[Sample]
    checks: Sequence[Check]
    tally: Tally
    steady: Steady
    records: Records
    faults: int
    reloads: int


def write(report: Report, name: str) -> list[Path]:
    """`<date>-soak-<name>` as .json, .md, -memory.svg and -counts.svg."""
    RESULTS.mkdir(exist_ok=True)
    stem = f"{date.today().isoformat()}-soak-{name}"  # noqa: DTZ011 - the date on the wall where it ran
    minutes = [one.at / 60 for one in report.samples]
    memory: dict[str, Points] = {
        "resident": list(zip(minutes, [one.resident / 1e6 for one in report.samples], strict=True)),
        "its own": list(zip(minutes, [one.own / 1e6 for one in report.samples], strict=True)),
    }
    counts: dict[str, Points] = {
        "descriptors": list(zip(minutes, [float(one.descriptors) for one in report.samples], strict=True)),
        "tasks": list(zip(minutes, [float(one.tasks) for one in report.samples], strict=True)),
        "requests under way": list(zip(minutes, [float(one.active) for one in report.samples], strict=True)),
    }
    files = {
        f"{stem}.json": json.dumps(_document(report), indent=1, ensure_ascii=False) + "\n",
        f"{stem}.md": _page(report, stem),
        f"{stem}-memory.svg": curves("Memory of the gateway", memory, "MB", "minutes", "{:.0f}".format) + "\n",
        f"{stem}-counts.svg": curves("What the gateway holds open", counts, "", "minutes", "{:.0f}".format) + "\n",
    }
    for file, text in files.items():
        (RESULTS / file).write_text(text, encoding="utf-8")
    return [RESULTS / file for file in files]


def _document(report: Report) -> dict[str, object]:
    return {
        "machine": report.machine.as_dict(),
        "command": report.command,
        "minutes": report.minutes,
        "seed": report.seed,
        "checks": [asdict(one) for one in report.checks],
        "outcomes": dict(report.tally.outcomes),
        "recorded": dict(report.records.outcomes),
        "wrong": report.tally.wrong[:100],
        "faults": report.faults,
        "reloads": report.reloads,
        "steady": asdict(report.steady),
        "samples": [asdict(one) for one in report.samples],
    }


def _page(report: Report, stem: str) -> str:
    facts = report.machine
    outcomes = ", ".join(f"{count:,} {name}" for name, count in report.tally.outcomes.most_common())
    recorded = ", ".join(f"{count:,} {name}" for name, count in report.records.outcomes.most_common())
    lines = [
        f"# Soak of {report.minutes:g} minutes, {date.today().isoformat()}",  # noqa: DTZ011 - as above
        "",
        f"* {facts.cpu}, {facts.cores} cores, {facts.memory_gib} GiB; {facts.system}, {facts.kernel}",
        f"* commit {facts.commit}; Python {facts.python}; load average at the start {facts.load_average}",
        f"* `{report.command}`, seed {report.seed}",
        f"* clients saw: {outcomes}; {report.tally.skipped:,} not sent, too many under way",
        f"* steady streams: {report.steady.sent:,} asked for, {report.steady.whole:,} read to their end",
        f"* records say: {recorded}",
        f"* {report.faults:,} requests met a fault of an engine; the configuration was reloaded {report.reloads} times",
        "",
        "| | seen | |",
        "| --- | --- | --- |",
        *(f"| {one.claim} | {_cell(one.seen)} | {'yes' if one.held else 'NO'} |" for one in report.checks),
        "",
        f"![memory]({stem}-memory.svg)",
        f"![counts]({stem}-counts.svg)",
    ]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "/").replace("\n", " ")[:1500]
