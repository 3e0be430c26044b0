"""`penstock guardrails`: which versions of the operator's texts each alias is bound to, and whether the files are still those."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.text import Text

from penstock.cli.config_file import ConfigFile, config_file
from penstock.cli.screen import out, print_json, step
from penstock.config import Config
from penstock.errors import ConfigError
from penstock.gateway.guarded import prepared
from penstock.sources import load

DRIFTED = 1


class Bond(msgspec.Struct, frozen=True):
    """One text that an alias is bound to."""

    alias: str
    what: str
    version: str
    file: str
    bound: str
    """The digest that the version is bound to; empty where it is bound to none."""
    found: str
    """The digest of the file; empty where it cannot be read."""

    @property
    def verdict(self) -> str:
        """How the two stand to each other."""
        if not self.found:
            return "the file cannot be read"
        if not self.bound:
            return "not bound to a digest"
        return "as bound" if self.bound == self.found else "drifted: another text"


def guardrails(
    *,
    config: ConfigFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Print what each alias' guardrails are bound to; exit 1 where a file is not that text any more, or rules cannot be kept."""
    with step("reading the configuration"):
        found = load(config_file(config), os.environ).config
    texts = list(_texts(found))
    problem = ""
    try:
        rules = prepared(found)
    except ConfigError as error:
        rules, problem = {}, error.message
    if as_json:
        told = [msgspec.to_builtins(one) | {"verdict": one.verdict} for one in texts]
        print_json({"aliases": sorted(rules), "texts": told, "problem": problem})
    else:
        for one in texts:
            style = "" if one.verdict == "as bound" else "yellow"
            line = f"{one.alias}  {one.what} {one.version}  {one.file}  sha256 {one.found[:16] or '-'}  "
            out.print(Text.assemble(line, (one.verdict, style)))
        for name in sorted(set(rules) - {one.alias for one in texts}):
            out.print(Text(f"{name}  rules without texts"))
        if not texts and not rules and not problem:
            out.print(Text("no alias has guardrails"))
        if problem:
            out.print(Text(problem, style="red"))
    if problem:
        raise typer.Exit(DRIFTED)


def _texts(config: Config) -> Iterator[Bond]:
    for name, alias in config.aliases.items():
        given = alias.guardrails
        for what, bound in (("system", given.system), ("template", given.template)) if given is not None else ():
            if bound is not None:
                yield Bond(name, what, bound.version, bound.file, bound.sha256, _digest(Path(bound.file)))


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""
