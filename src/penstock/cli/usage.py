"""`penstock usage`: what keys and tenants have used, read from the state itself, so that no gateway need run."""

from __future__ import annotations

import os
from datetime import UTC, date, datetime
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from penstock.cli.config_file import ConfigFile, config_file
from penstock.cli.screen import out, print_json
from penstock.errors import ConfigError
from penstock.sources import load
from penstock.state.row import Sum
from penstock.state.store import Store
from penstock.state.usage import Usage, Used


def usage(
    *,
    month: Annotated[bool, typer.Option("--month", help="This calendar month instead of today.")] = False,
    since: Annotated[str, typer.Option(help="From this day on, YYYY-MM-DD.", metavar="DAY")] = "",
    tenant: Annotated[str, typer.Option(help="Of this tenant alone.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    config: ConfigFile = None,
) -> None:
    """Show requests and tokens by tenant and key: today, this month, or since a day, in UTC."""
    day = _since(month=month, since=since)
    loaded = load(config_file(config), os.environ)
    with Store(loaded.config.state) as store:
        found = [one for one in Usage(store).since(day) if not tenant or one.tenant == tenant]
    tenants = _by_tenant(found)
    if as_json:
        print_json(
            {
                "since": day,
                "tenants": {name: _plain(one) for name, one in tenants.items()},
                "keys": [{"tenant": one.tenant, "key": one.key, **_plain(one.sum)} for one in found],
            }
        )
        return
    table = Table(
        "tenant", "key", "requests", "refused", "prompt", "answers", box=None, pad_edge=False, header_style="dim"
    )
    for name, whole in tenants.items():
        table.add_row(Text(name, "bold"), "", *_cells(whole))
        for one in found:
            if one.tenant == name:
                table.add_row("", Text(one.key), *_cells(one.sum))
    out.print(table if found else f"nothing was used since {day}")


def _since(*, month: bool, since: str) -> str:
    today = datetime.now(UTC).date()
    if not since:
        return (today.replace(day=1) if month else today).isoformat()
    if month:
        raise ConfigError("Showing what was used: --month and --since are two beginnings.", hint="Give one of them.")
    try:
        return date.fromisoformat(since).isoformat()
    except ValueError:
        msg = f"Showing what was used: {since!r} is no day."
        raise ConfigError(msg, hint="Such as --since 2026-11-01.") from None


def _by_tenant(found: list[Used]) -> dict[str, Sum]:
    sums: dict[str, Sum] = {}
    for one in found:
        sums.setdefault(one.tenant, Sum()).add(one.sum)
    return sums


def _plain(one: Sum) -> dict[str, int]:
    return {
        "requests": one.requests,
        "refused": one.refused,
        "prompt_tokens": one.prompt_tokens,
        "completion_tokens": one.completion_tokens,
    }


def _cells(one: Sum) -> list[str]:
    return [f"{value:,}" for value in _plain(one).values()]
