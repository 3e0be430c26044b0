"""Which file a verb reads: the one named, else the one that PENSTOCK_CONFIG names, else penstock.yaml in this folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Final, TypeAlias

import typer

USUAL: Final = Path("penstock.yaml")

ConfigFile: TypeAlias = Annotated[
    Path | None,
    typer.Option("--config", help="The file; else PENSTOCK_CONFIG names it, else penstock.yaml here.", metavar="FILE"),
]


def config_file(named: Path | None) -> Path | None:
    """None where there is no file at all."""
    if named is None and not os.environ.get("PENSTOCK_CONFIG") and USUAL.is_file():
        return USUAL
    return named
