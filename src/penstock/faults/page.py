"""The reference page of faults and scripts, made from the catalogue and the code: `python -m penstock.faults.page > docs/reference/faults.md`.

A test holds the page to what is made here. Pure but for reading the scenarios' own source.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from types import FunctionType

import msgspec

from penstock.faults.catalogue import ROWS, Row, collect
from penstock.faults.scenario import Need, Scenario
from penstock.faults.script import Script

_METRIC = re.compile(r"\"((?:penstock|tensafe)_\w+)\"")
_LOGGED = re.compile(r"\blogged\(")
_FIELD = re.compile(r"(\w+)=(?:re\.compile\(r?)?(\"[^\"]*\"|\d+)")
_DEEP = 3
"""How far into a file's own functions the page looks for what a scenario asserts."""

_HEAD = """\
# Faults

Made by `python -m penstock.faults.page`. What each [row of the matrix](../howto/faults.md) injects, what must come of it, and which metrics and log
records are asserted besides; then every key of a script for the scripted engine.

Every scenario starts the real gateway process and two scripted engines, and judges what the client sees by the bytes on its socket alone.
**A** is the preferred and **B** the second target of the alias `m`. Metrics and records are asserted of Penstock alone.

"""
_NEEDS = {
    Need.PROCESS: "process",
    Need.PENSTOCK: "Penstock",
    Need.ROOT: "root",
    Need.FAKETIME: "faketime",
}


def page() -> str:
    """All of it."""
    found = collect()
    parts = [_HEAD, "## The rows\n\n"]
    parts += [part for row in ROWS for part in _row(row, [one for one in found if one.row == row.number])]
    parts += ["## What a scenario needs\n\n", "| word | means |\n|---|---|\n"]
    parts += [f"| {word} | {need.value} |\n" for need, word in _NEEDS.items()]
    parts += ["\n## Keys of a script\n\n", *_keys(Script)]
    return "".join(parts)


def _row(row: Row, scenarios: list[Scenario]) -> Iterator[str]:
    yield f"### Row {row.number}: {row.title}\n\n"
    if not scenarios:
        yield f"Not built{f': {row.later}' if row.later else ''}.\n\n"
        return
    yield "| scenario | what happens, and what must come of it | metrics | records of the log | needs |\n|---|---|---|---|---|\n"
    for one in scenarios:
        text = "\n".join(_sources(one))
        metrics = " ".join(dict.fromkeys(f"`{name}`" for name in _METRIC.findall(text)))
        needs = ", ".join(_NEEDS[need] for need in sorted(one.needs))
        yield f"| `{one.name}` | {_cell(one.expected)} | {metrics} | {_cell(_records(text))} | {needs} |\n"
    yield f"\nNot built: {row.later}.\n\n" if row.later else "\n"


def _sources(scenario: Scenario) -> list[str]:
    """The source of a scenario and of the functions of its own file that it calls."""
    if not isinstance(scenario.run, FunctionType):
        return []
    module = inspect.getmodule(scenario.run)
    seen: dict[str, FunctionType] = {scenario.run.__name__: scenario.run}
    for _ in range(_DEEP):
        for function in list(seen.values()):
            for name in function.__code__.co_names:
                other = function.__globals__.get(name)
                if isinstance(other, FunctionType) and inspect.getmodule(other) is module:
                    seen.setdefault(name, other)
    return [inspect.getsource(function) for function in seen.values()]


def _records(text: str) -> str:
    """The fields of each record that is waited for."""
    told = []
    for place in (found.end() for found in _LOGGED.finditer(text)):
        fields = _FIELD.findall(text[place : text.find("\n", place)])
        if fields:
            told.append("`" + ", ".join(f"{name}: {value}" for name, value in fields) + "`")
    return "; ".join(dict.fromkeys(told))


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _keys(kind: type[msgspec.Struct]) -> Iterator[str]:
    """A table of a struct's fields, with the docstrings that stand below them."""
    yield "| key | usually | means |\n|---|---|---|\n"
    told = _docstrings(kind)
    for field in msgspec.structs.fields(kind):
        usual = msgspec.json.encode(field.default).decode() if field.default is not msgspec.NODEFAULT else "needed"
        yield f"| `{field.name}` | `{usual}` | {_cell(told.get(field.name, ''))} |\n"


def _docstrings(kind: type) -> dict[str, str]:
    source = inspect.getsource(kind)
    found = re.findall(r"^    (\w+): [^\n]+\n    \"\"\"(.*?)\"\"\"", source, re.MULTILINE | re.DOTALL)
    return {name: " ".join(words.split()) for name, words in found}


if __name__ == "__main__":
    sys.stdout.write(page())
