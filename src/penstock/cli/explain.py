"""`penstock explain-config`: every value of the configuration and where it came from."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Annotated

import msgspec
import typer
from rich.text import Text

from penstock.cli.config_file import ConfigFile, config_file
from penstock.cli.screen import note, out, print_json, step
from penstock.config_schema import json_schema
from penstock.config_text import shown
from penstock.gateway.discover import models
from penstock.gateway.switched import spelled
from penstock.shape import Path as Where
from penstock.shape import Plain, dotted
from penstock.sources import load
from penstock.state.glance import standing
from penstock.state.switch import Switch


def explain_config(
    *,
    config: ConfigFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    schema: Annotated[bool, typer.Option("--schema", help="The JSON Schema of penstock.yaml instead.")] = False,
) -> None:
    """Print every value of the configuration and where it came from.

    With nothing configured it looks for engines on this machine, as a start would.
    """
    if schema:
        out.file.write(json_schema())
        return
    file = config_file(config)
    with step("reading the configuration"):
        loaded = load(file, os.environ, models)
    values = shown(loaded.config)
    switched = {one.alias: one for one in standing(loaded.config.state)}
    notes = (*loaded.notes, *(line for one in switched.values() for line in _said(one)))
    if as_json:
        told = {name: msgspec.to_builtins(one) for name, one in switched.items()}
        print_json({"config": values, "origin": loaded.origin, "switched": told, "notes": notes})
        return
    rows = [(dotted(path), text, loaded.origin.get(dotted(path), "default")) for path, text in _leaves(values, ())]
    # Columns by hand: a table that is cut or folded at the screen's edge cannot be searched.
    first, second = (max(len(row[column]) for row in rows) + 2 for column in (0, 1))
    for where, text, origin in rows:
        style = "dim" if origin == "default" else ""
        out.print(Text.assemble((where.ljust(first), style), (text.ljust(second), style or "bold"), (origin, style)))
    for line in notes:
        note(line)


def _said(switch: Switch) -> Iterator[str]:
    """What the state says against the file."""
    if switch.override is not None:
        yield (
            f"alias {switch.alias}: {spelled(switch.override)} was promoted and stands before these targets; "
            f"`penstock rollback {switch.alias}` removes it"
        )
    if switch.canary is not None:
        yield f"alias {switch.alias}: a canary to {spelled(switch.canary.target)} runs, at {switch.canary.percent:g} %"


def _leaves(value: Plain, path: Where) -> list[tuple[Where, str]]:
    if isinstance(value, dict) and value:
        return [leaf for name, one in value.items() for leaf in _leaves(one, (*path, name))]
    if isinstance(value, list) and value:
        return [leaf for index, one in enumerate(value) for leaf in _leaves(one, (*path, index))]
    return [(path, _spelled(value))]


def _spelled(value: Plain) -> str:
    match value:
        case None | "":
            return "-"
        case bool():
            return "true" if value else "false"
        case dict() | list():
            return "none"
        case _:
            return str(value)
