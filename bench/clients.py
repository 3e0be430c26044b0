"""What a call costs in each client library: µs of CPU time per call, all libraries against one engine, in interleaved rounds."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench import client_calls, machine
from bench.build import Programs
from bench.client_calls import CLIENTS, SCENARIOS
from bench.processes import free_port, running
from bench.samples import Sample, Scenario, Spread, ratios, spread, values
from bench.stage import LOAD_CPU, PROXY_CPU

REPOSITORY = Path(__file__).parent.parent
WARM = 20
"""Calls before the first that counts, in each scenario."""
AGAINST = {
    "httpx2, bare": ("httpcore2, bare",),
    "penstock": ("ollama", "openai", "httpcore2, bare"),
    "penstock, Ollama's API": ("ollama", "openai"),
    "penstock in LangChain": ("langchain_ollama", "langchain_openai"),
    "penstock in LangChain, chat": ("langchain_ollama chat", "langchain_openai"),
}
"""Whom each form of ours is held against."""
TARGETS = {
    ("penstock", "ollama"): 1.1,
    ("penstock", "openai"): 1.0,
    ("penstock in LangChain", "langchain_ollama"): 1.0,
    ("penstock in LangChain", "langchain_openai"): 1.0,
    ("penstock in LangChain, chat", "langchain_ollama chat"): 1.0,
    ("penstock in LangChain, chat", "langchain_openai"): 1.0,
}
"""The most that the median of the ratios may be (of the scenario `client-call`)."""


@dataclass(frozen=True)
class Plan:
    rounds: int
    calls: int
    seed: int
    scenarios: tuple[Scenario, ...] = SCENARIOS

    @property
    def steps(self) -> int:
        return self.rounds * len(self.scenarios) * len(CLIENTS)


@dataclass(frozen=True)
class Report:
    machine: machine.Machine
    versions: dict[str, str]
    plan: Plan
    samples: Sequence[Sample]


def run(plan: Plan, programs: Programs, note: Callable[[str], None]) -> Report:
    """Every library in a process of its own, all alive; in each round each is asked once per scenario, in a new order."""
    facts = machine.describe()
    shuffle = random.Random(plan.seed)  # noqa: S311 - an order, not a secret
    samples = []
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, ExitStack() as stack:
        port = free_port()
        stack.enter_context(running([str(programs.engine), str(port)], cpu=LOAD_CPU, log=Path(folder) / "engine.log"))
        asked = {name: stack.enter_context(_child(name, port, Path(folder))) for name in CLIENTS}
        for scenario in plan.scenarios:
            for child in asked.values():
                child.spent(WARM, scenario)
        for number in range(plan.rounds):
            for scenario in plan.scenarios:
                for name in shuffle.sample(list(asked), len(asked)):
                    note(f"round {number + 1}: {scenario.name}, {name}")
                    spent = asked[name].spent(plan.calls, scenario)
                    samples.append(Sample(scenario.name, name, number, spent / plan.calls / 1000))
    return Report(facts, client_calls.versions(), plan, samples)


class _Child:
    """One library's process."""

    def __init__(self, name: str, process: subprocess.Popen[str], log: Path) -> None:
        self._name = name
        self._process = process
        self._log = log

    def spent(self, calls: int, scenario: Scenario) -> int:
        """Nanoseconds of CPU time that so many calls took."""
        assert self._process.stdin is not None  # noqa: S101 - it was started with pipes, in this file
        assert self._process.stdout is not None  # noqa: S101
        self._process.stdin.write(f"{calls} {scenario.name}\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"measuring {self._name}: its process ended\n{self._log.read_text()[-3000:]}")
        return int(json.loads(line)["ns"])


@contextmanager
def _child(name: str, port: int, folder: Path) -> Iterator[_Child]:
    log = folder / f"{list(CLIENTS).index(name)}.log"
    command = [sys.executable, "-P", "-m", "bench.client_calls", name, str(port)]
    environment = {"PYTHONPATH": f"{REPOSITORY / 'src'}:{REPOSITORY}"}
    with running(command, cpu=PROXY_CPU, log=log, environment=environment, stdout=subprocess.PIPE) as process:
        yield _Child(name, process, log)


def show(report: Report, console: Console) -> None:
    for scenario in report.plan.scenarios:
        columns, rows = _grid(report, scenario)
        table = Table(*columns, title=Text(f"{scenario.title} ({scenario.name})"), title_justify="left")
        for row in rows:
            table.add_row(*(Text(cell) for cell in row))
        console.print(table)


def write(report: Report, name: str) -> tuple[Path, Path]:
    folder = Path(__file__).parent / "results"
    folder.mkdir(exist_ok=True)
    stem = folder / f"{date.today().isoformat()}-client-{name}"  # noqa: DTZ011 - the date on the bench's own wall
    data, text = stem.with_suffix(".json"), stem.with_suffix(".md")
    facts = {
        "machine": report.machine.as_dict(),
        "versions": report.versions,
        "plan": {"rounds": report.plan.rounds, "calls": report.plan.calls, "seed": report.plan.seed},
        "samples": [asdict(one) for one in report.samples],
    }
    data.write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n")
    text.write_text(_markdown(report))
    return data, text


def _markdown(report: Report) -> str:
    facts, plan = report.machine, report.plan
    lines = [
        f"# What a call costs in each client library, {date.today().isoformat()}",  # noqa: DTZ011 - as above
        "",
        f"* {facts.cpu}, {facts.cores} cores, {facts.memory_gib} GiB; {facts.system}, {facts.kernel}",
        f"* commit {facts.commit}; Python {facts.python}; {facts.compiler}; load average at the start {facts.load_average}",
        f"* {', '.join(f'{package} {number}' for package, number in report.versions.items())}",
        f"* {plan.rounds} rounds of {plan.calls} calls, order shuffled with seed {plan.seed}",
        "",
        "µs of CPU time of the client's process per call; ratios are formed inside a round; medians [lowest-highest].",
    ]
    for scenario in plan.scenarios:
        columns, rows = _grid(report, scenario)
        lines += ["", f"## {scenario.title} ({scenario.name})", ""]
        lines += ["| " + " | ".join(row) + " |" for row in (columns, ["---"] * len(columns), *rows)]
    return "\n".join(lines) + "\n"


def _grid(report: Report, scenario: Scenario) -> tuple[list[str], list[list[str]]]:
    rows = []
    for name in CLIENTS:
        row = [name, _told(spread(values(report.samples, scenario.name, name)), 0)]
        told = []
        for other in AGAINST.get(name, ()):
            seen = spread(ratios(report.samples, scenario.name, name, other))
            most = TARGETS.get((name, other)) if scenario is client_calls.CALL else None
            met = (
                "" if most is None or seen is None else f" (at most {most:g}: {'yes' if seen.median <= most else 'NO'})"
            )
            told.append(f"{_told(seen, 2)} × {other}{met}")
        rows.append([*row, "; ".join(told)])
    return ["library", "µs per call", "beside"], rows


def _told(seen: Spread | None, digits: int) -> str:
    if seen is None:
        return "-"
    return f"{seen.median:.{digits}f} [{seen.low:.{digits}f}-{seen.high:.{digits}f}]"
