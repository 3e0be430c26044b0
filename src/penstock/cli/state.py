"""`penstock state backup|restore|version|migrate`: the database of gateways, looked after without one of them running."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from penstock.cli.config_file import ConfigFile, config_file
from penstock.cli.screen import out
from penstock.errors import ConfigError
from penstock.sources import load
from penstock.state.backup import backup, restore
from penstock.state.migrations import MIGRATIONS
from penstock.state.store import Store

state = typer.Typer(no_args_is_help=True, help="The state: copied, restored, brought to another version.")

File = Annotated[Path, typer.Argument(help="The copy: one SQLite file, whichever database the state is in.")]


@state.command("backup")
def backup_state(file: File, *, config: ConfigFile = None) -> None:
    """Copy the state as of one moment, while gateways use it."""
    with _open(config) as store:
        version = backup(store, file)
    out.print(f"{file}: the state as of now, version {version}")


@state.command("restore")
def restore_state(
    file: File,
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do it: what is kept now is lost.")] = False,
    config: ConfigFile = None,
) -> None:
    """Put a copy in place of everything that is kept now.

    Stop the gateways first: what they hold in memory is newer than the copy.
    """
    if not yes:
        raise ConfigError("Restoring the state: what is kept now would be lost.", hint="Say --yes to do it.")
    with _open(config) as store:
        rows = restore(store, file)
    out.print(f"restored {rows} rows from {file}")


@state.command("version")
def version_of_state(*, config: ConfigFile = None) -> None:
    """Show which version of the schema the state has; nothing is changed."""
    with Store(load(config_file(config), os.environ).config.state, migrate=False) as store:
        out.print(str(store.version()))


@state.command("migrate")
def migrate_state(
    *,
    to: Annotated[
        int | None, typer.Option(min=0, help="An older version, for an older Penstock; the newest where not given.")
    ] = None,
    config: ConfigFile = None,
) -> None:
    """Bring the schema to a version, forwards or back; back drops what later versions keep."""
    newest = MIGRATIONS[-1].number
    if to is not None and to > newest:
        raise ConfigError(f"Migrating the state: the newest version is {newest}.", hint="A newer Penstock knows more.")
    with _open(config) as store:
        store.migrate(to)
        out.print(str(store.version()))


def _open(config: Path | None) -> Store:
    return Store(load(config_file(config), os.environ).config.state)
