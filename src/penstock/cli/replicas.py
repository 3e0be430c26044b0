"""`penstock replicas list|add|remove`: engines that a backend stands for, while the gateway runs.

Talks to the running gateway over its admin socket; what it orders is kept in the fleet file.
"""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from penstock.cli.admin_socket import Admin, AdminSocket, AsJson, Told
from penstock.cli.config_file import ConfigFile
from penstock.cli.screen import out, print_json

replicas = typer.Typer(no_args_is_help=True, help="Engines that a backend stands for, changed while the gateway runs.")

Backend = Annotated[str, typer.Argument(help="The backend in penstock.yaml.")]


@replicas.command("list")
def list_(*, as_json: AsJson = False, config: ConfigFile = None, admin: AdminSocket = "") -> None:
    """Show every backend's replicas and how they are."""
    _show(Admin(config, admin).get("/replicas"), as_json=as_json)


@replicas.command("add")
def add(
    backend: Backend,
    url: Annotated[str, typer.Argument(help="The URL of the engine that joins it.")],
    *,
    as_json: AsJson = False,
    config: ConfigFile = None,
    admin: AdminSocket = "",
) -> None:
    """Give a backend one replica more; it must be of the same kind."""
    _show(Admin(config, admin).post("/replicas/add", {"backend": backend, "replica": url}), as_json=as_json)


@replicas.command("remove")
def remove(
    backend: Backend,
    replica: Annotated[str, typer.Argument(help="The URL or the name of the engine that leaves it.")],
    *,
    as_json: AsJson = False,
    config: ConfigFile = None,
    admin: AdminSocket = "",
) -> None:
    """Take a replica away: it gets nothing new, and what it has begun it may end."""
    _show(Admin(config, admin).post("/replicas/remove", {"backend": backend, "replica": replica}), as_json=as_json)


def _show(told: Told, *, as_json: bool) -> None:
    if as_json:
        print_json(told)
        return
    table = Table(box=None, pad_edge=False)
    for title in ("backend", "replica", "URL", "state", "active"):
        table.add_column(title)
    backends = told.get("backends")
    for name, members in backends.items() if isinstance(backends, dict) else ():
        for one in members:
            state = f"{one['state']}: {one['reason']}" if one["reason"] else one["state"]
            table.add_row(name, one["name"], one["url"] or "started by Penstock", state, str(one["active"]))
    out.print(table)
