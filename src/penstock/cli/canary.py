"""`penstock canary start|status|stop|promote`: a part of an alias' requests goes to another target first, watched.

Talks to the running gateway over its admin socket, so whoever may open that may order; the gateway keeps who it was.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated
from urllib.parse import quote

import typer

from penstock.cli.admin_socket import Admin, AdminSocket, AsJson, Told
from penstock.cli.canary_shown import show_standing, show_switch
from penstock.cli.config_file import ConfigFile
from penstock.cli.screen import print_json
from penstock.errors import ConfigError
from penstock.units import seconds, share

canary = typer.Typer(no_args_is_help=True, help="Send a part of an alias' requests to another target, watched.")

Alias = Annotated[str, typer.Argument(help="The alias, or one of its further names.")]


@canary.command("start")
def start(  # noqa: PLR0913 - each is an option of the verb
    alias: Alias,
    *,
    to: Annotated[
        str,
        typer.Option(help="BACKENDS:MODEL, or the number of a target in the file (from 0), or a backend of one."),
    ],
    percent: Annotated[str, typer.Option(help="Share of the requests, such as 5.")] = "",
    step: Annotated[str, typer.Option(help="Shares one after the other, such as 5,25,50,100.")] = "",
    every: Annotated[str, typer.Option(help="How long a step must hold in good health, such as 10m.")] = "",
    promote: Annotated[bool, typer.Option("--promote", help="Promote once the last step has held.")] = False,
    caller: Annotated[list[str] | None, typer.Option(help="Only requests of this caller; repeat for more.")] = None,
    service: Annotated[
        list[str] | None, typer.Option(help="Only requests whose x-penstock-service says so; repeat for more.")
    ] = None,
    max_error_rate: Annotated[str, typer.Option(help="Share of its requests that may fail; else 2%.")] = "",
    max_p95_ratio: Annotated[float | None, typer.Option(help="Its P95 over that of the old path; else 1.5.")] = None,
    min_requests: Annotated[int | None, typer.Option(help="Answers a step must have seen; else 50.")] = None,
    window: Annotated[str, typer.Option(help="How far back is looked; else 5m.")] = "",
    as_json: AsJson = False,
    config: ConfigFile = None,
    admin: AdminSocket = "",
) -> None:
    """Begin a canary; for one that runs to the same target, change its share or its rules, or add to its group."""
    if percent and step:
        raise ConfigError(
            "Starting a canary: --percent and --step are two ways to say the same.", hint="Give one of them."
        )
    order = {
        "alias": alias,
        "to": to,
        "steps": [_percent(one) for one in (step or percent).split(",") if one.strip()],
        "every": _read("--every", seconds, every) if every else 0.0,
        "promote": promote,
        "callers": _names(caller),
        "services": _names(service),
        "max_error_rate": _read("--max-error-rate", share, _number(max_error_rate)) if max_error_rate else None,
        "max_p95_ratio": max_p95_ratio,
        "min_requests": min_requests,
        "window": _read("--window", seconds, window) if window else None,
    }
    _show(Admin(config, admin).post("/canary/start", order), as_json=as_json)


@canary.command("status")
def status(
    alias: Annotated[str, typer.Argument(help="One alias; all of them where not given.")] = "",
    *,
    as_json: AsJson = False,
    config: ConfigFile = None,
    admin: AdminSocket = "",
) -> None:
    """Show what is switched, how canaries do, and what was done."""
    told = Admin(config, admin).get(f"/switches?alias={quote(alias, safe='')}")
    if as_json:
        print_json(told)
    else:
        show_standing(told)


@canary.command("stop")
def stop(
    alias: Alias,
    *,
    reason: Annotated[str, typer.Option(help="Kept with the event.")] = "",
    as_json: AsJson = False,
    config: ConfigFile = None,
    admin: AdminSocket = "",
) -> None:
    """End a canary: everybody takes the old path. Requests under way end where they are."""
    _show(Admin(config, admin).post("/canary/stop", {"alias": alias, "reason": reason}), as_json=as_json)


@canary.command("promote")
def promote(alias: Alias, *, as_json: AsJson = False, config: ConfigFile = None, admin: AdminSocket = "") -> None:
    """Make the canary's target the alias' first, for everybody, across restarts, until a rollback."""
    _show(Admin(config, admin).post("/canary/promote", {"alias": alias}), as_json=as_json)


def rollback(alias: Alias, *, as_json: AsJson = False, config: ConfigFile = None, admin: AdminSocket = "") -> None:
    """Bring the alias' old path back at once: no canary, no promoted target, what the file says."""
    _show(Admin(config, admin).post("/rollback", {"alias": alias}), as_json=as_json)


def _show(told: Told, *, as_json: bool) -> None:
    if as_json:
        print_json(told)
    else:
        show_switch(told)


def _percent(text: str) -> float:
    return _read("--percent and --step", float, text.strip().removesuffix("%"))


def _number(text: str) -> str | float:
    return text if "%" in text else _read("--max-error-rate", float, text)


def _read(option: str, read: Callable[..., float], text: str | float) -> float:
    try:
        return read(text)
    except ValueError as expected:
        raise ConfigError(f"{option} {text}: {expected}.", hint="Try --percent 5, --every 10m, 2%.") from None


def _names(given: Sequence[str] | None) -> list[str]:
    """Repeated, or with commas."""
    return [name.strip() for one in given or () for name in one.split(",") if name.strip()]
