"""Dockerfiles as recipes: base image, environment, ports, what is run while building and what is started. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import NamedTuple

from penstock.rules.finding import Evidence
from penstock.rules.material import Command, Recipe, Setting, Word
from penstock.rules.reading.shell import script, words
from penstock.rules.reading.text import Text

_INSTRUCTION = re.compile(r"\s*([A-Za-z]+)\s+(.*)", re.DOTALL)
_PAIR = re.compile(r"""(?<!\w)([A-Za-z_]\w*)=("(?:[^"\\]|\\.)*"|'[^']*'|[^\s]*)""")


class _Instruction(NamedTuple):
    name: str
    rest: str
    line: int


def recipe(text: Text) -> Recipe:
    """The file's last stage; settings and commands of all of them."""
    settings: list[Setting] = []
    exposed: list[Word] = []
    runs: list[Command] = []
    started: dict[str, tuple[Word, ...]] = {}
    image, base = "", None
    for one in _instructions(text):
        at = text.at(one.line)
        if one.name == "FROM":
            image, base = _image(one.rest), at
            started = {}
        elif one.name in {"ENV", "ARG"}:
            settings += _settings(one, at)
        elif one.name == "EXPOSE":
            ports = one.rest.partition("#")[0].split()
            exposed += [Word(text=port.partition("/")[0], at=at) for port in ports]
        elif one.name == "RUN":
            runs += script(Text(text.name, one.rest, one.line, whole=text)).commands
        elif one.name in {"ENTRYPOINT", "CMD"}:
            started[one.name] = _started(text, one, at)
    return Recipe(
        name=text.name,
        base=base,
        image=image,
        settings=tuple(settings),
        exposed=tuple(exposed),
        entrypoint=started.get("ENTRYPOINT", ()),
        arguments=started.get("CMD", ()),
        runs=tuple(runs),
        at=base or text.at(text.first),
    )


def _instructions(text: Text) -> Iterator[_Instruction]:
    """Instructions with their continued lines; comment lines between those are dropped."""
    parts: list[str] = []
    begun = text.first
    for number, line in enumerate(text.lines, text.first):
        if line.lstrip().startswith("#"):
            if parts:
                parts.append("")
            continue
        if not parts:
            begun = number
        continued = line.rstrip().endswith("\\")
        parts.append(line)
        if continued:
            continue
        if found := _INSTRUCTION.match("\n".join(parts)):
            yield _Instruction(found[1].upper(), found[2], begun)
        parts = []
    if parts and (found := _INSTRUCTION.match("\n".join(parts))):
        yield _Instruction(found[1].upper(), found[2], begun)


def _image(rest: str) -> str:
    return next((word for word in rest.split() if not word.startswith("--")), "")


def _settings(one: _Instruction, at: Evidence) -> Iterator[Setting]:
    pairs = _PAIR.findall(one.rest)
    if pairs:
        for name, value in pairs:
            yield Setting(name=name, value=value.strip("\"'"), at=at)
        return
    name, _, value = one.rest.strip().partition(" ")
    yield Setting(name=name, value=value.strip(), at=at)


def _started(text: Text, one: _Instruction, at: Evidence) -> tuple[Word, ...]:
    """The exec form's words, or the shell form as `sh -c` gets it."""
    if one.rest.lstrip().startswith("["):
        try:
            listed = json.loads(one.rest.replace("\\\n", "\n"))
        except (ValueError, RecursionError):
            return ()
        return tuple(Word(text=str(word), at=at) for word in listed) if isinstance(listed, list) else ()
    return words(Text(text.name, one.rest, one.line, whole=text))
