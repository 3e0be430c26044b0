"""What is switched, for people: one block for each alias, the figures of both sides, and what was done."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TypeAlias

import msgspec
from rich.table import Table
from rich.text import Text

from penstock.cli.screen import out

SHOWN = 10
"""Events on a screen; --json has more."""


class _Figures(msgspec.Struct, frozen=True):
    requests: int = 0
    failed: int = 0
    refused: int = 0
    left: int = 0
    p95: float = 0.0
    p95_first: float = 0.0


class _Progress(msgspec.Struct, frozen=True):
    canary: _Figures
    old: _Figures
    seen: int = 0
    held: float = 0.0


class _Rules(msgspec.Struct, frozen=True):
    min_requests: int = 0


class _Canary(msgspec.Struct, frozen=True):
    to: str
    percent: float
    steps: list[float]
    step: int = 0
    every: float = 0.0
    promote: bool = False
    callers: list[str] = []
    services: list[str] = []
    rules: _Rules = _Rules()
    progress: _Progress | None = None


class _Override(msgspec.Struct, frozen=True):
    to: str
    problem: str = ""


class _Switch(msgspec.Struct, frozen=True):
    alias: str
    unwritten: bool = False
    file: list[str] = []
    canary: _Canary | None = None
    override: _Override | None = None


class _Event(msgspec.Struct, frozen=True):
    what: str
    alias: str
    who: str
    made: float
    reason: str = ""
    detail: dict[str, str] = {}


class _Standing(msgspec.Struct, frozen=True):
    switched: list[_Switch] = []
    events: list[_Event] = []


Told: TypeAlias = Mapping[str, object]


def show_switch(told: Told) -> None:
    """One alias."""
    _one(msgspec.convert(told, _Switch))


def show_standing(told: Told) -> None:
    """Every alias, then what was done."""
    standing = msgspec.convert(told, _Standing)
    for switch in standing.switched:
        _one(switch)
    if not standing.switched:
        out.print("Nothing is switched: every alias goes where the file says.")
    if standing.events:
        out.print("")
        out.print(_events(standing.events[:SHOWN]))


def _one(switch: _Switch) -> None:
    lead = Text(switch.alias, "bold")
    if switch.override is not None:
        out.print(Text.assemble(lead, f"  promoted: {switch.override.to} stands before what the file says"))
        if switch.override.problem:
            out.print(Text(f"  not in force: {switch.override.problem}", "yellow"))
        out.print(Text(f"  to keep it, put it first in penstock.yaml: {_in_words(switch.override.to)}"))
        out.print(Text(f"  to undo it: penstock rollback {switch.alias}"))
    if switch.canary is not None:
        _canary(lead, switch.canary)
    elif switch.override is None:
        out.print(Text.assemble(lead, f"  goes where the file says: {', then '.join(switch.file) or 'nowhere'}"))
    if switch.unwritten:
        out.print(
            Text("  the state cannot be written: a restart would forget this. The gateway's log says why.", "yellow")
        )


def _canary(lead: Text, canary: _Canary) -> None:
    group = [*(f"caller {one}" for one in canary.callers), *(f"service {one}" for one in canary.services)]
    whose = f" of {', '.join(group)}" if group else " of all requests"
    out.print(Text.assemble(lead, f"  canary to {canary.to}: {canary.percent:g} %{whose}"))
    progress = canary.progress
    if progress is None:
        return
    out.print(f"  {_step(canary, progress)}")
    table = Table("", "requests", "failed", "refused", "left", "P95 to first token", "P95", box=None, pad_edge=False)
    for name, one in (("  canary", progress.canary), ("  old path", progress.old)):
        counts = [str(number) for number in (one.requests, one.failed, one.refused, one.left)]
        table.add_row(name, *counts, _seconds(one.p95_first), _seconds(one.p95))
    out.print(table)


def _step(canary: _Canary, progress: _Progress) -> str:
    number, last = canary.step + 1, len(canary.steps)
    if not canary.every or (number == last and not canary.promote):
        return f"step {number} of {last}, for {progress.held:.0f} s; it stays until somebody promotes or stops it"
    held = f"step {number} of {last}, held {progress.held:.0f} of {canary.every:g} s"
    return f"{held}, {progress.seen} answers of at least {canary.rules.min_requests}"


def _events(events: list[_Event]) -> Table:
    table = Table("when", "what", "alias", "who", "", box=None, pad_edge=False, header_style="dim")
    for one in events:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(one.made))
        told = [f"to {one.detail['to']}" if "to" in one.detail else "", one.reason]
        if "percent" in one.detail and one.what in {"canary start", "canary step", "canary widen"}:
            told.insert(1, f"{one.detail['percent']} %")
        # As Text: a reason is somebody's words and no markup.
        table.add_row(when, one.what, Text(one.alias, "bold"), Text(one.who), Text(", ".join(filter(None, told))))
    return table


def _in_words(to: str) -> str:
    names, _, model = to.partition(":")
    return f'{{backends: [{names.replace(",", ", ")}], model: "{model}"}}'


def _seconds(value: float) -> str:
    return f"{value:.3g} s" if value else "-"
