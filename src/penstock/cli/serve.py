"""`penstock serve`: the gateway in the foreground, with your configuration."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from penstock.cli.screen import note, step
from penstock.config import Loaded
from penstock.gateway.discover import models
from penstock.sources import load


def serve(
    *,
    config: Annotated[
        Path | None, typer.Option(help="The file; else PENSTOCK_CONFIG names it.", metavar="FILE")
    ] = None,
    takeover: Annotated[
        bool, typer.Option("--takeover", help="Replace the gateway that serves these addresses now, losing no request.")
    ] = False,
) -> None:
    """Run the gateway with your configuration.

    SIGHUP reads it again, SIGTERM and Ctrl-C let running requests end and stop.
    """
    # Imported here, because no other verb needs the server and its libraries.
    from penstock.gateway.workers import run  # noqa: PLC0415

    def source() -> Loaded:
        return load(config, os.environ, models)

    with step("reading the configuration"):
        loaded = source()
    for line in loaded.notes:
        note(line)
    raise typer.Exit(run(loaded.config, source=source, takeover=takeover))
