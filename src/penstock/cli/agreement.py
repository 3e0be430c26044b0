"""`penstock agreement`: whether two engines say the same, from a shadow's pairs or from two files of answers."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import msgspec
import typer

from penstock.agreement import page, text
from penstock.agreement.facts import Facts, facts_of
from penstock.agreement.lines import lines_of, pairs_of
from penstock.agreement.pair import Pair, loaded
from penstock.agreement.report import Report, report
from penstock.cli.config_file import ConfigFile, config_file
from penstock.cli.screen import note, out, print_json
from penstock.errors import ConfigError
from penstock.shape import nearest
from penstock.sources import load
from penstock.state.glance import has_rows
from penstock.units import share

if TYPE_CHECKING:
    from penstock.state.pairs import Pairs

T = TypeVar("T")

NEEDS = "An alias has pairs when its `shadow` was sent some of its requests: docs/howto/shadow.md."


def agreement(  # noqa: PLR0913 - each is an option of the verb
    *,
    alias: Annotated[
        str, typer.Argument(metavar="ALIAS", help="Whose pairs; without it, which aliases have any.")
    ] = "",
    config: ConfigFile = None,
    answers: Annotated[
        tuple[Path, Path] | None,
        typer.Option("--answers", help="Two files of answers, in place of a shadow's pairs.", metavar="FILE FILE"),
    ] = None,
    golden: Annotated[
        Path | None, typer.Option(help="JSON lines of prompts with the facts that a right answer has.", metavar="FILE")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    html: Annotated[Path | None, typer.Option(help="Write a page as well.", metavar="FILE")] = None,
    examples: Annotated[int, typer.Option(min=0, help="How many pairs that differ are shown.")] = 5,
    at_least: Annotated[
        str, typer.Option(help="Exit with 1 unless the agreement surely is at least this, e.g. 95%.", metavar="SHARE")
    ] = "",
    forget: Annotated[bool, typer.Option("--forget", help="Drop the alias' pairs instead.")] = False,
) -> None:
    """Report how often two engines agree, what got worse, and how sure that is, with examples."""
    least = _share(at_least) if at_least else 0.0
    facts = facts_of(_lines(golden), str(golden)) if golden is not None else None
    if answers is not None:
        found = _of_files(*answers, facts, examples)
    else:
        url = load(config_file(config), os.environ).config.state
        if not alias:
            _list(url, as_json=as_json)
            return
        if forget:
            out.print(f"{_in(url, lambda kept: kept.forget(alias)):,} pairs of {alias} dropped")
            return
        found = report(_of_alias(url, alias), alias=alias, facts=facts, examples=examples)
    _show(found, as_json=as_json, html=html)
    if found.agreed.low < least:
        note(f"the agreement may be as low as {100 * found.agreed.low:.1f} %, which is below {at_least}")
        raise typer.Exit(1)


def _show(found: Report, *, as_json: bool, html: Path | None) -> None:
    if html is not None:
        try:
            html.write_text(page.as_page(found), encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"Writing the page {html}: {error.strerror}.", hint="Name another file.") from None
        note(f"the page is {html}")
    if as_json:
        print_json(msgspec.to_builtins(found))
    else:
        out.file.write(text.as_text(found))


def _of_files(first: Path, second: Path, facts: Facts | None, examples: int) -> Report:
    one, other = lines_of(_lines(first), str(first)), lines_of(_lines(second), str(second))
    paired, left = pairs_of(one, other)
    names = (first.stem, second.stem) if first.stem != second.stem else ("first", "second")
    return report(paired, alias="answers", names=names, facts=facts, examples=examples, unpaired=left)


def _of_alias(url: str, alias: str) -> list[Pair]:
    bodies = _in(url, lambda kept: kept.read(alias))
    if not bodies:
        others = list(_in(url, lambda kept: kept.counts()))
        known = f"{nearest(alias, others)} " if others else ""
        raise ConfigError(f"Reading the pairs of {alias!r}: there are none.", hint=f"{known}{NEEDS}")
    try:
        return [loaded(body) for body in bodies]
    except msgspec.ValidationError as error:
        raise ConfigError(
            f"Reading the pairs of {alias!r}: another version of Penstock wrote them ({error}).",
            hint="--forget drops them; what the shadow finds from then on can be read.",
        ) from None


def _list(url: str, *, as_json: bool) -> None:
    counts = _in(url, lambda kept: kept.counts())
    if as_json:
        print_json(counts)
    elif not counts:
        note(f"no alias has pairs. {NEEDS}")
    else:
        for name, count in counts.items():
            out.print(f"{name}  {count:,} {'pair' if count == 1 else 'pairs'}", markup=False)


def _in(url: str, ask: Callable[[Pairs], T]) -> T:
    """Ask the state, which a look must not create."""
    if not has_rows(url, "pairs"):
        raise ConfigError("Reading the pairs of shadows: the state of this configuration holds none.", hint=NEEDS)
    from penstock.state.pairs import Pairs  # noqa: PLC0415 - the database's library, which no other verb waits for
    from penstock.state.store import Store  # noqa: PLC0415 - likewise

    with Store(url) as store:
        return ask(Pairs(store))


def _share(spelled: str) -> float:
    try:
        return share(spelled if "%" in spelled else float(spelled))
    except ValueError:
        raise ConfigError(f"--at-least {spelled}: it expects a share such as 95% or 0.95.") from None


def _lines(file: Path) -> list[str]:
    try:
        # Not splitlines: JSON text may hold other characters that Python takes for line ends.
        return file.read_text(encoding="utf-8").split("\n")
    except OSError as error:
        raise ConfigError(f"Reading {file}: {error.strerror}.", hint="Is the path right?") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"Reading {file}: not UTF-8 at byte {error.start}.", hint="JSON is UTF-8.") from None
