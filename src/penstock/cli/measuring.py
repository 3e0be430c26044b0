"""What `compare` and `bench` share on the command line: their options, the progress they show, and how they end.

A signal does not throw away what was measured: the report is then a partial one, and the exit code is the signal's.
"""

from __future__ import annotations

import asyncio
import math
import os
import resource
import shlex
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final, TypeVar

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from penstock.bench.answer import Sample
from penstock.bench.load import Ending
from penstock.bench.machine import this_machine
from penstock.bench.plan import Plan
from penstock.bench.results import Conditions, Level
from penstock.bench.speech import Wish
from penstock.bench.workload import Workload
from penstock.cli.screen import err, note
from penstock.errors import ConfigError
from penstock.types import Wire

T = TypeVar("T")

FILES: Final = 65_536
"""Open connections that we would like to be able to have."""

Prompts = Annotated[Path, typer.Option(help="A file of prompts: lines of text, JSON lines, or ShareGPT's JSON.")]
Concurrency = Annotated[
    str,
    typer.Option(
        "--concurrency", "--max-concurrency", help="Requests under way all the time; several levels with commas."
    ),
]
Rate = Annotated[
    str,
    typer.Option("--rate", "--request-rate", help="Arrivals a second at random moments; several levels with commas."),
]
Seconds = Annotated[float | None, typer.Option(help="How long each level takes.", min=0.1, metavar="N")]
NumPrompts = Annotated[
    int | None, typer.Option("--num-prompts", help="Requests at each level.", min=1, max=10_000_000, metavar="N")
]
MaxTokens = Annotated[int, typer.Option(help="Longest answer, in tokens.", min=1, metavar="N")]
IgnoreEos = Annotated[bool, typer.Option("--ignore-eos", help="Go on to --max-tokens; vLLM and llama.cpp only.")]
Timeout = Annotated[float, typer.Option(help="Seconds a whole answer may take.", min=0.1, metavar="N")]
Seed = Annotated[int, typer.Option(help="Decides every random choice.", metavar="N")]
KeepGoing = Annotated[bool, typer.Option("--keep-going", help="Leave out lines of the file that cannot be used.")]
AsJson = Annotated[bool, typer.Option("--json", help="Everything that was measured, as one JSON document.")]
Html = Annotated[Path | None, typer.Option(help="Write a page with plots here.", metavar="FILE")]


def wire_of(text: str, option: str) -> Wire | None:
    """The protocol an option names; None for `auto`."""
    if text == "auto":
        return None
    try:
        return Wire(text)
    except ValueError:
        raise ConfigError(f"{option} {text}: openai, ollama or auto is expected.", hint=f"{option} openai") from None


def key_in(name: str, option: str) -> str:
    """The key in the environment variable that an option names; keys themselves never stand on a command line."""
    if name and name not in os.environ:
        raise ConfigError(f"{option} {name}: no such variable in the environment.", hint=f"export {name}=…")
    return os.environ[name] if name else ""


def levels_of(concurrency: str, rate: str) -> tuple[Level, ...]:
    """The levels two options ask for."""
    at_once = [int(value) for value in _numbers(concurrency, "--concurrency", whole=True)]
    rates = _numbers(rate, "--rate", whole=False)
    if not rates:
        return tuple(Level(value) for value in at_once or [1])
    if len(at_once) > 1:
        raise ConfigError(
            f"--rate {rate} --concurrency {concurrency}: with a rate, one number bounds what is under way at once.",
            hint="Levels of one of them at a time.",
        )
    return tuple(Level(at_once[0] if at_once else None, value) for value in rates)


def _numbers(text: str, option: str, *, whole: bool) -> list[float]:
    try:
        values: list[float] = [int(part) if whole else float(part) for part in text.split(",") if part.strip()]
    except ValueError:
        values = [math.nan]
    if any(math.isnan(value) or value <= 0 for value in values) or any(value > 4096 for value in values if whole):
        expected = "whole numbers from 1 to 4096" if whole else "numbers above 0, or inf"
        raise ConfigError(f"{option} {text}: {expected}, with commas, are expected.", hint=f"{option} 1,4,8")
    return values


class Progressed:
    """Shows how far it is: a bar on a terminal, a line for each level elsewhere."""

    def __init__(self) -> None:
        self._bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[faults]}"),
            TimeElapsedColumn(),
            console=err,
            transient=True,
            disable=not err.is_terminal,
        )
        self._task: TaskID | None = None
        self._faults = 0

    @contextmanager
    def shown(self) -> Iterator[None]:
        """While it is measured."""
        with self._bars:
            yield

    def begins(self, level: Level, requests: int | None, seconds: float | None) -> None:
        """A level; without a number of requests the bar has no end."""
        if self._task is not None:
            self._bars.remove_task(self._task)
        self._faults = 0
        self._task = self._bars.add_task(level.words, total=requests, faults="")
        if not err.is_terminal:
            much = f"{requests} requests" if requests else f"{seconds:g} s"
            err.print(f"· {level.words}: {much}")

    def heard(self, name: str, sample: Sample) -> None:
        """One more answer, or one more error."""
        if self._task is None:
            return
        if sample.fault:
            self._faults += 1
            self._bars.update(self._task, faults=f"{self._faults} errors, last from {name}: {sample.fault}")
        if sample.place >= 0:
            self._bars.advance(self._task)


def run(measure: Callable[[Ending], Awaitable[T]]) -> tuple[T, int]:
    """What was measured, and the exit code a signal leaves behind; 0 where none came."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(hard, FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    codes: list[int] = []

    async def main() -> T:
        ending = Ending()
        loop = asyncio.get_running_loop()

        def ended(number: signal.Signals) -> None:
            codes.append(128 + number)
            ending.now(f"interrupted by {'Ctrl-C' if number is signal.SIGINT else number.name}")
            for each in (signal.SIGINT, signal.SIGTERM):  # a second one ends it at once
                loop.remove_signal_handler(each)

        if threading.current_thread() is threading.main_thread():  # no other may listen for signals
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(number, ended, number)
        return await measure(ending)

    with asyncio.Runner(loop_factory=_new_loop) as runner:
        found = runner.run(main())
    return found, codes[0] if codes else 0


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop  # noqa: PLC0415 - not on every system
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


class Began:
    """The moment a measurement began, and what will be said of its conditions."""

    def __init__(self) -> None:
        self.machine = this_machine()
        self.moment = datetime.now(UTC)
        self.clock = time.perf_counter_ns()

    def conditions(self, plan: Plan, workload: Workload, wish: Wish, requests: int, partial: str) -> Conditions:
        """Said at the end, when it is known how it went."""
        return Conditions(
            command=shlex.join(["penstock", *sys.argv[1:]]),
            began=self.moment.strftime("%Y-%m-%d %H:%M UTC"),
            took=round((time.perf_counter_ns() - self.clock) / 1e9, 3),
            machine=self.machine,
            prompts=workload.name,
            prompts_digest=workload.digest,
            prompts_used=len(workload.prompts),
            prompts_left_out=workload.faults,
            requests=requests,
            wish=wish,
            seed=plan.seed,
            confidence=plan.confidence,
            partial=partial,
        )


def tell_left_out(workload: Workload) -> None:
    """Which lines `--keep-going` passed over."""
    for fault in workload.faults[:10]:
        note(f"left out {fault}")
    if len(workload.faults) > 10:
        note(f"left out {len(workload.faults) - 10} more lines")


def write(file: Path, text: str, what: str) -> None:
    """A report into a file."""
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ConfigError(f"Writing {what} to {file}: {reason}.", hint="Name a file that can be written.") from None


def writable(file: Path | None, option: str) -> None:
    """Told before an hour of measuring rather than after it."""
    if file is not None and (file.is_dir() or not file.resolve().parent.is_dir()):
        raise ConfigError(f"{option} {file}: there is no folder for it.", hint="Make the folder first.")
