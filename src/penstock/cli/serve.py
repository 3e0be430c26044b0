"""`penstock serve`: the gateway in the foreground, with your configuration."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from penstock.cli.config_file import ConfigFile, config_file
from penstock.cli.screen import note, step
from penstock.gateway.discover import models
from penstock.sources import load


def serve(
    *,
    config: ConfigFile = None,
    takeover: Annotated[
        bool, typer.Option("--takeover", help="Replace the gateway that serves these addresses now, losing no request.")
    ] = False,
) -> None:
    """Run the gateway with your configuration.

    SIGHUP reads it again; SIGTERM and Ctrl-C let running requests end, then stop. One line of JSON on stdout says which
    addresses are served, once they are.
    """
    file = config_file(config)
    with step("reading the configuration"):
        loaded = load(file, os.environ, models)
    for line in loaded.notes:
        note(line)
    arguments = [*(("--config", str(file)) if file else ()), *(("--takeover",) if takeover else ())]
    # In place of this process: the gateway runs for months and has no use for what a command line needs.
    os.execv(sys.executable, [sys.executable, "-P", "-m", "penstock.gateway", *arguments])  # noqa: S606 - ourselves
