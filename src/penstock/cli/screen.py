"""The two streams a command writes to, and the form of what it writes there.

`out` is for the answer to what was asked, `err` for progress, notes and errors, so that a pipe gets data alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.text import Text

from penstock.errors import PenstockError

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def complain(error: PenstockError) -> None:
    """What was attempted, and on the next line what to try."""
    err.print(Text.assemble(("error: ", "bold red"), error.message))
    if error.hint:
        err.print(Text.assemble(("try: ", "bold"), error.hint))


def note(text: str) -> None:
    """Something worth knowing that is no error."""
    err.print(Text.assemble(("note: ", "yellow"), text))


@contextmanager
def step(text: str) -> Iterator[None]:
    """Shows what is going on: a spinner on a terminal, one line elsewhere."""
    if err.is_terminal:
        with err.status(escape(text)):
            yield
    else:
        err.print(Text(f"· {text}"))
        yield


def print_json(value: object) -> None:
    """One JSON document on stdout, as programs read it: no colour, no wrapping."""
    out.file.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")
    out.file.flush()
