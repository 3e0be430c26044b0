"""VLLM_INTEGRATION_REPORT.md, the report that one of the documents promises, from a measurement and from nothing else. Pure but for one look.

The document of that name told a speed-up before anything was measured. This one has no figure of its own: what was not measured is
listed as such, and a speed-up that was not shown is not in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from penstock.bench.results import Compared, Comparison
from penstock.bench.words import ROWS, headline, lines, spoken
from penstock.errors import ConfigError

FILE: Final = "VLLM_INTEGRATION_REPORT.md"
_MARK: Final = "<!-- written by penstock compare -->"


def replaceable(file: Path) -> None:
    """Refuse to write over a report that is not one of ours."""
    try:
        there = file.read_text(encoding="utf-8", errors="replace") if file.exists() else _MARK
    except OSError as error:
        raise ConfigError(f"Writing {file}: {(error.strerror or str(error)).lower()}.", hint="Move it away.") from None
    if _MARK not in there[:4096]:
        raise ConfigError(
            f"Writing {file}: there is one already that this command did not write.", hint="Move it away first."
        )


def report_text(found: Comparison) -> str:
    """The whole document."""
    a, b, told = found.a, found.b, found.conditions
    names = (a.name, b.name)
    parts = [
        _MARK,
        f"# From {a.name} to {b.name}: what was measured",
        _facts(found),
        *([f"**Partial:** {told.partial}. What follows is what was measured until then."] if told.partial else []),
        "## Summary",
        *(_summary(level, names, told.confidence) for level in found.levels),
        "## Performance comparison",
        *(part for level in found.levels for part in _level(level, names, told.confidence)),
        "## How it was measured",
        _how(found),
        "## What this does not say",
        _LIMITS,
        "## To run it again",
        f"```\n{told.command}\n```",
    ]
    return "\n\n".join(parts) + "\n"


def _facts(found: Comparison) -> str:
    told, machine = found.conditions, found.conditions.machine
    memory = f", {machine.memory / 2**30:.0f} GiB" if machine.memory else ""
    load = f", load {machine.load:.2f} before it began" if machine.load is not None else ""
    rows = [
        ("Date", f"{told.began}, {told.took:.0f} s"),
        *((one.name, f"`{_cell(one.model)}` at {one.url}, {spoken(one.wire)}" + (f", {_cell(one.engine)}" if one.engine else ""))
          for one in (found.a, found.b)),
        ("Prompts", f"{_cell(told.asked)}; {told.prompts_digest}"),
        ("Asked for", f"at most {told.wish.max_tokens} tokens an answer, temperature {told.wish.temperature:g}"),
        ("Measured from", f"{_cell(machine.processor)}, {machine.cores} cores{memory}, {machine.system}{load}"),
        ("With", f"Penstock {machine.penstock}, Python {machine.python}, seed {told.seed}"),
    ]  # fmt: skip
    return "| | |\n|---|---|\n" + "\n".join(f"| {_cell(label)} | {value} |" for label, value in rows)


def _summary(level: Compared, names: tuple[str, str], confidence: float) -> str:
    return f"At {level.level.words}, {level.pairs} pairs of turns:\n\n```\n{lines(headline(level, names, confidence))}\n```"


def _level(level: Compared, names: tuple[str, str], confidence: float) -> Iterator[str]:
    yield f"### {level.level.words.capitalize()}"
    head = f"| Metric | {_cell(names[0])} | {_cell(names[1])} | Speed-up, {100 * confidence:.4g} % interval |"
    rows = [head, "|---|--:|--:|---|"]
    for label, cell, measure in ROWS:
        speedup = level.speedup(measure) if measure else None
        rows.append(
            f"| {label} | {_cell(cell(level.a))} | {_cell(cell(level.b))} | {speedup.words if speedup else ''} |"
        )
    costs = [60 / side.requests_per_minute if side.requests_per_minute else None for side in (level.a, level.b)]
    told = ["-" if cost is None else f"{cost:.3g} s" for cost in costs]
    rows.append(f"| engine time a request | {told[0]} | {told[1]} | |")
    yield "\n".join(rows)
    if level.cautions:
        yield "\n".join(f"- {_cell(caution)}." for caution in level.cautions)


def _how(found: Comparison) -> str:
    return (
        f"Turn by turn: {found.a.name} and {found.b.name} got the same prompts one after the other, in an order drawn anew for each pair; "
        "one was idle while the other answered. Answers were streamed. Times run from sending a request to the arrival of bytes, over "
        "connections that were open already. Token counts are the engines' own. The interval of a speed-up is a bootstrap over the "
        "pairs; where it includes 1, or there are too few pairs, no speed-up is given."
    )


_LIMITS: Final = """- Whether the answers are as good: this is about time.
- GPU memory: an engine that reserves its cache at its start uses as much of it idle as busy.
- Cost: *engine time a request* becomes money only with the price of the hardware that each engine had.
- Other prompts, other hardware, other versions, another hour: an interval says what more requests of this run would have shown."""


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
