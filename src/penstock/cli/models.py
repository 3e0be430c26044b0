"""`penstock models`: what a running gateway serves, and how well it can serve it now."""

from __future__ import annotations

import os
from typing import Annotated, TypeAlias

import typer
from rich.table import Table
from rich.text import Text

from penstock.cli.screen import out, print_json
from penstock.cli.talk import DEFAULT_URL, KEY_NAME, Gateway, refused

Entry: TypeAlias = dict[str, object]

STYLES = {"ready": "green", "degraded": "yellow", "unavailable": "red"}


def models(
    *,
    url: Annotated[str, typer.Option(help="Where the gateway answers.")] = DEFAULT_URL,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """List the models that are served, their state, and which backends serve them."""
    gateway = Gateway(url, os.environ.get(KEY_NAME, ""))
    entries = listed(gateway)
    views = _views(gateway)
    if as_json:
        print_json([entry | views.get(str(entry["id"]), {}) for entry in entries])
        return
    table = Table("model", "context", "state", "served by", box=None, pad_edge=False, header_style="dim")
    for entry in entries:
        view = views.get(str(entry["id"]), {})
        state = str(view.get("readiness", "-"))
        window = str(entry.get("max_model_len") or "-")
        table.add_row(Text(str(entry["id"]), "bold"), window, Text(state, STYLES.get(state, "")), _served_by(view))
    out.print(table)


def listed(gateway: Gateway) -> list[Entry]:
    """The entries of /v1/models."""
    answer = gateway.get("/v1/models")
    entries = answer.data.get("data")
    if answer.status != 200 or not isinstance(entries, list):
        raise refused(answer, f"Listing the models of {gateway.url}")
    return [entry for entry in entries if isinstance(entry, dict) and isinstance(entry.get("id"), str)]


def _views(gateway: Gateway) -> dict[str, Entry]:
    """What /ready says of each alias; empty for a server that is no Penstock."""
    aliases = gateway.get("/ready").data.get("aliases")
    return aliases if isinstance(aliases, dict) else {}


def _served_by(view: Entry) -> str:
    """`gpu-0, gpu-1, spare (down)`: the backends in order of preference."""
    targets = view.get("targets")
    if not isinstance(targets, list) or not targets:
        return "-"
    return ", ".join(
        str(one.get("backend")) + ("" if one.get("state") == "ready" else f" ({one.get('state')})") for one in targets
    )
