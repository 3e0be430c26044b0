"""`penstock keys create|list|show|revoke|rotate`: who may ask, for what, for how long.

Talks to the running gateway over its admin socket, which tells all its workers before it answers. Where no gateway runs,
the state is changed directly; one that is started later, or runs on another machine, reads it there.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from penstock.cli.admin_socket import Admin, AdminSocket, AsJson, Told
from penstock.cli.config_file import ConfigFile, config_file
from penstock.cli.screen import err, note, out, print_json
from penstock.errors import ConfigError, Unreachable
from penstock.sources import load
from penstock.state.key import Named, Rotate, Wanted
from penstock.types import KeyLimits
from penstock.units import seconds

keys = typer.Typer(no_args_is_help=True, help="Keys: who may ask, for what, for how long.")

DAY = 24 * 3600.0
Key = Annotated[str, typer.Argument(help="Its id, or its name where only one key has it.")]


@keys.command("create")
def create(  # noqa: PLR0913 - each is an option of the verb
    name: Annotated[str, typer.Argument(help="What it is called in lists, logs and receipts.")],
    *,
    tenant: Annotated[str, typer.Option(help="Whose requests these are.")],
    scope: Annotated[
        list[str] | None,
        typer.Option(help="`*`, `alias:NAME`, `route:OPERATION` or `admin`; repeat for more. `*` where none is given."),
    ] = None,
    expires: Annotated[str, typer.Option(help="How long it holds, such as 30d or 12h; for ever where not given.")] = "",
    requests_per_minute: Annotated[int | None, typer.Option(min=1)] = None,
    tokens_per_minute: Annotated[int | None, typer.Option(min=1)] = None,
    concurrent: Annotated[int | None, typer.Option(min=1, help="Requests in flight at once.")] = None,
    tokens_per_day: Annotated[int | None, typer.Option(min=1)] = None,
    tokens_per_month: Annotated[int | None, typer.Option(min=1)] = None,
    extra: Annotated[
        list[str] | None, typer.Option(help="A request field it may send, such as priority; repeat for more.")
    ] = None,
    forwards_users: Annotated[
        bool, typer.Option("--forwards-users", help="Believe the user names that it forwards in headers.")
    ] = False,
    as_json: AsJson = False,
    config: ConfigFile = None,
    admin: AdminSocket = "",
) -> None:
    """Make a key. Its secret is shown this once."""
    limits = KeyLimits(requests_per_minute, tokens_per_minute, concurrent, tokens_per_day, tokens_per_month)
    wanted = Wanted(
        name=name,
        tenant=tenant,
        scopes=tuple(scope or ("*",)),
        limits=None if limits == KeyLimits() else limits,
        extras=tuple(extra or ()),
        forwards_users=forwards_users,
        expires_in=_lasting("--expires", expires) if expires else None,
    )
    _made(_ordered("create", wanted, config, admin), as_json=as_json)


@keys.command("list")
def list_(*, as_json: AsJson = False, config: ConfigFile = None, admin: AdminSocket = "") -> None:
    """Show every key there is and was."""
    told = _ordered("list", None, config, admin)
    if as_json:
        print_json(told)
        return
    table = Table(box=None, pad_edge=False)
    for title in ("id", "name", "tenant", "scopes", "state", "expires"):
        table.add_column(title)
    rows = told["keys"]
    for one in rows if isinstance(rows, list) else ():
        state = one["state"] + (f", replaced by {one['replaced_by']}" if one["replaced_by"] else "")
        table.add_row(one["id"], one["name"], one["tenant"], " ".join(one["scopes"]), state, _when(one["expires"]))
    out.print(table)


@keys.command("show")
def show(key: Key, *, as_json: AsJson = False, config: ConfigFile = None, admin: AdminSocket = "") -> None:
    """Show all that is known of one key."""
    _show(_ordered("show", Named(key), config, admin), as_json=as_json)


@keys.command("revoke")
def revoke(key: Key, *, as_json: AsJson = False, config: ConfigFile = None, admin: AdminSocket = "") -> None:
    """Let nobody ask with this key any more, from the next request on; what runs may end."""
    _show(_ordered("revoke", Named(key), config, admin), as_json=as_json)


@keys.command("rotate")
def rotate(
    key: Key,
    *,
    overlap: Annotated[str, typer.Option(help="How long the old one goes on, such as 1h; 0s ends it now.")] = "24h",
    as_json: AsJson = False,
    config: ConfigFile = None,
    admin: AdminSocket = "",
) -> None:
    """Make a key that may what this one may, and let this one end after a while."""
    order = Rotate(key, _lasting("--overlap", overlap))
    _made(_ordered("rotate", order, config, admin), as_json=as_json)


def _ordered(verb: str, order: Wanted | Named | Rotate | None, config: Path | None, admin: str) -> Told:
    gateway = Admin(config, admin)
    try:
        return gateway.get("/keys") if order is None else gateway.post(f"/keys/{verb}", order)
    except Unreachable:
        if admin:
            raise
    note("no gateway runs here: the state is changed directly")
    return _directly(verb, order, config)


def _directly(verb: str, order: Wanted | Named | Rotate | None, config: Path | None) -> Told:
    from penstock.gateway.key_orders import KeyOrders  # noqa: PLC0415 - the database's library comes with it
    from penstock.state.store import Store  # noqa: PLC0415 - likewise

    loaded = load(config_file(config), os.environ).config
    with Store(loaded.state) as store:
        orders = KeyOrders(loaded, store)
        if order is None:
            return orders.list()
        if isinstance(order, Wanted):
            return orders.create(order)
        if isinstance(order, Rotate):
            return orders.rotate(order)
        return orders.revoke(order) if verb == "revoke" else orders.show(order)


def _made(told: Told, *, as_json: bool) -> None:
    if not as_json:
        out.print(Text(str(told["secret"])))
        err.print(Text("This is the key. It is shown this once and kept nowhere.", "dim"))
    _show(told, as_json=as_json)


def _show(told: Told, *, as_json: bool) -> None:
    if as_json:
        print_json(told)
    else:
        for name, value in told.items():
            if name in {"made", "expires", "revoked"}:
                err.print(Text(f"  {name:15} {_when(value)}"))
            elif name not in {"secret", "late"} and value not in (None, [], ""):
                err.print(Text(f"  {name:15} {_words(value)}"))
    if told.get("late"):
        raise Late(
            f"Workers that may not know of it yet: {_words(told['late'])}.",
            hint="Each looks by itself within a second, or lets nobody in; look again with `penstock keys list`.",
        )


class Late(ConfigError):
    """It was done, and not every worker has said that it knows."""


def _words(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {one}" for name, one in value.items() if one is not None)
    return " ".join(str(one) for one in value) if isinstance(value, list | tuple) else str(value)


def _when(value: object) -> str:
    if not isinstance(value, int | float):
        return "never"
    return datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _lasting(option: str, text: str) -> float:
    """Seconds; days as well, which nothing in the configuration needs."""
    days, between, rest = text.partition("d")
    if not between:
        days, rest = "0", text
    try:
        return int(days) * DAY + (seconds(rest) if rest else 0.0)
    except ValueError:
        raise ConfigError(f"{option} {text}: expects a duration.", hint="Try 30d, 12h or 1d12h.") from None
