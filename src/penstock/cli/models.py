"""`penstock models`: what a running gateway serves."""

from __future__ import annotations

import os
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from penstock.cli.screen import out, print_json
from penstock.cli.talk import DEFAULT_URL, KEY_NAME, Gateway, refused


def models(
    *,
    url: Annotated[str, typer.Option(help="Where the gateway answers.")] = DEFAULT_URL,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """List the models that are served."""
    entries = listed(Gateway(url, os.environ.get(KEY_NAME, "")))
    if as_json:
        print_json(entries)
        return
    table = Table("model", "context", "from", box=None, pad_edge=False, header_style="dim")
    for entry in entries:
        window = entry.get("max_model_len")
        table.add_row(Text(str(entry["id"]), "bold"), str(window or "-"), Text(str(entry.get("owned_by", "-"))))
    out.print(table)


def listed(gateway: Gateway) -> list[dict[str, object]]:
    """The entries of /v1/models."""
    answer = gateway.get("/v1/models")
    entries = answer.data.get("data")
    if answer.status != 200 or not isinstance(entries, list):
        raise refused(answer, f"Listing the models of {gateway.url}")
    return [entry for entry in entries if isinstance(entry, dict) and isinstance(entry.get("id"), str)]
