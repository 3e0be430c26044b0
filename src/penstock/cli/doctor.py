"""`penstock doctor`: what is wrong with these files and servers, why, and how to mend it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.text import Text

from penstock.address import base_url
from penstock.cli.screen import err, note, out, print_json
from penstock.cli.talk import KEY_NAME
from penstock.doctor.configured import places
from penstock.doctor.files import gather
from penstock.doctor.live import examine_all
from penstock.doctor.report import Report, report
from penstock.doctor.result import Result
from penstock.doctor.server import POOL_IDLE, Asked, Place
from penstock.errors import ConfigError
from penstock.rules.finding import Finding, masked

WRONG: Final = 1
CONTROLS: Final = dict.fromkeys((*range(32), *range(127, 160)), "�")
"""Files and servers under examination write nothing to the terminal but text."""
STATES: Final = {"ok": ("✓", "green"), "wrong": ("✗", "red"), "unknown": ("·", "dim")}


def doctor(
    what: Annotated[
        list[str] | None,
        typer.Argument(metavar="[FILE|FOLDER|URL]...", help="What to look at; this folder where nothing is named."),
    ] = None,
    *,
    config: Annotated[
        Path | None,
        typer.Option("--config", metavar="FILE", help="Also the backends and the address of this penstock.yaml."),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option("--model", help="A name that the application asks the URLs for; may be given again."),
    ] = None,
    needs: Annotated[int | None, typer.Option(min=1, help="Tokens that its prompts and answers need together.")] = None,
    pool_idle: Annotated[
        float, typer.Option("--pool-idle", min=0.1, max=3600, help="Seconds that its pool keeps an idle connection.")
    ] = POOL_IDLE,
    key_env: Annotated[
        str | None,
        typer.Option(
            "--key-env", help=f"The variable that holds the URLs' key; else {KEY_NAME}, for a Penstock alone."
        ),
    ] = None,
    public: Annotated[bool, typer.Option("--public", help="Judge URLs as ones that other machines reach.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Say what is wrong with files and running servers, with evidence and mend. Exit code 1 when something is.

    Files are judged by what the five documents got wrong about vLLM; servers are asked a few harmless questions, 15 seconds each at most.
    """
    asked = Asked(
        models=tuple(model or ()),
        needs=needs,
        key=os.environ.get(key_env or KEY_NAME, ""),
        ours=key_env is None,
        public=public,
        pool_idle=pool_idle,
    )
    named = what or ([] if config else ["."])
    urls = [Place(_url(one), asked) for one in named if "://" in one]
    if config:
        urls += places(config, asked)
    files = gather(Path(one) for one in named if "://" not in one)
    found = report(files, _live(urls))
    if not (found.files or found.results or found.notes):
        raise ConfigError(
            f"Examining {', '.join(map(masked, named)) or config}: nothing there that a rule looks at.",
            hint="Name compose files, Dockerfiles, scripts, environment files, client code, or URLs.",
        )
    if as_json:
        print_json(found.data())
    else:
        _show(found)
    if not found.healthy:
        raise typer.Exit(WRONG)


def _url(text: str) -> str:
    """The URL as it is given, a doubled /v1 and all, if it is one at all."""
    scheme, _, rest = text.partition("://")
    try:
        base_url(f"{scheme}://{rest.partition('/')[0]}")
    except ValueError as expected:
        raise ConfigError(
            f"Examining {masked(text)}: this expects {expected}.", hint="For example http://127.0.0.1:8000"
        ) from None
    return text


def _live(places: list[Place]) -> list[Result]:
    if not places:
        return []
    if not err.is_terminal:
        err.print(Text(f"· asking {', '.join(place.url for place in places)}"))
        return examine_all(places, lambda _: None)
    with err.status("asking") as status:
        return examine_all(places, lambda text: status.update(Text(text)))


def _show(found: Report) -> None:
    for one in found.findings:
        _show_finding(one)
    for url in dict.fromkeys(result.url for result in found.results):
        out.print(Text(_plain(url), "bold"))
        for result in (one for one in found.results if one.url == url):
            mark, style = STATES[result.state]
            out.print(Text.assemble((f"  {mark} ", style), f"{result.check}: ", _plain(result.said)))
            if result.tried:
                out.print(Text(_plain(f"      asked: {'; '.join(result.tried)}"), "dim"))
    for text in found.notes:
        note(_plain(text))
    out.print(Text(found.summary(), "bold green" if found.healthy else "bold red"))


def _show_finding(one: Finding) -> None:
    claim = " (a claim)" if one.claim else ""
    out.print(Text.assemble((f"{one.rule}{claim}", "bold red"), f"  {_plain(one.wrong)}"))
    for line in one.evidence:
        out.print(Text.assemble("    ", (_plain(line.place), "cyan"), ": ", (_plain(line.shown), "dim")))
    out.print(Text.assemble(("    mend: ", "bold"), _plain(one.mend)))
    out.print()


def _plain(text: str) -> str:
    return text.translate(CONTROLS)
