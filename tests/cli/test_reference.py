"""docs/reference/cli.md lists every verb with every option, and none that is gone."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import typer

from penstock.cli import app

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "cli.md"


def listed() -> dict[str, set[str]]:
    """Verb -> options, as the page has them."""
    sections = re.split(r"^### penstock ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    return {
        section.partition("\n")[0]: set(re.findall(r"^\| `(--[a-z0-9-]+)` \|", section, flags=re.MULTILINE))
        for section in sections
    }


def real() -> dict[str, set[str]]:
    """The same of the program; a verb of a group has two words."""
    return {
        name: {option for parameter in verb.params for option in parameter.opts if option.startswith("--")} - {"--help"}
        for name, verb in verbs("", typer.main.get_group(app))
    }


def verbs(name: str, command: Any) -> list[tuple[str, Any]]:  # noqa: ANN401 - typer's commands and groups
    """A command, or all commands of a group."""
    if not hasattr(command, "commands"):
        return [(name, command)]
    return [found for one, inner in command.commands.items() for found in verbs(f"{name} {one}".strip(), inner)]


def test_the_page_is_what_the_program_has() -> None:
    assert listed() == real()
