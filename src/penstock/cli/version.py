"""`penstock version`."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of
from typing import Annotated

import typer

from penstock import __version__
from penstock.cli.screen import out, print_json

PARTS = ("uvicorn", "starlette", "uvloop", "httptools", "msgspec", "xllamacpp")
"""What decides how we behave, and so belongs into a report about it."""


def version(
    *, as_json: Annotated[bool, typer.Option("--json", help="Versions of the parts as well, as JSON.")] = False
) -> None:
    """Print the version."""
    if not as_json:
        out.print(__version__)
        return
    parts = {}
    for name in PARTS:
        try:
            parts[name] = version_of(name)
        except PackageNotFoundError:
            parts[name] = ""
    print_json(
        {"penstock": __version__, "python": platform.python_version(), "system": platform.platform(), "parts": parts}
    )
