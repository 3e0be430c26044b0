"""expected.yaml, read strictly; and its rendering as docs/reference/client-matrix.md.

python -m tests.clients.table        writes the page
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import msgspec
import yaml

HERE = Path(__file__).parent
FILE = HERE / "expected.yaml"
PAGE = HERE.parents[1] / "docs/reference/client-matrix.md"


class Client(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one client library shows, and which exceptions it raises."""

    protocol: str
    shows: frozenset[str]
    errors: dict[int, str]
    streams: bool = False
    """It streams even where its user wants the whole answer."""
    hides: dict[str, frozenset[str]] = {}
    """Fields that it does not show for some operations."""


class Backend(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One column."""

    engine: str
    name: str
    """In x-penstock-backend."""
    model: str
    """What the answers' `model` must say."""
    embed_name: str
    embed_model: str
    timings: bool = False
    """The engine says itself how long it took to read the prompt."""


class Result(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What must come of a cell."""

    means: str
    status: int = 200
    message: str = ""
    """Of a refusal, word for word."""


class Cell(msgspec.Struct, frozen=True):
    """One client doing one thing with one backend."""

    operation: str
    client: str
    backend: str
    result: str

    def __str__(self) -> str:
        return f"{self.operation}-{self.client}-{self.backend}"


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file."""

    operations: dict[str, str]
    backends: dict[str, Backend]
    clients: dict[str, Client]
    results: dict[str, Result]
    cells: dict[str, dict[str, dict[str, str]]]

    def all_cells(self) -> Iterator[Cell]:
        """Every cell there has to be. Raises KeyError for one that is not in the file."""
        for operation, client, backend in itertools.product(self.operations, self.clients, self.backends):
            yield Cell(operation, client, backend, self.cells[operation][client][backend])


def load() -> Table:
    """The committed table."""
    return msgspec.convert(yaml.safe_load(FILE.read_text(encoding="utf-8")), Table)


def render(table: Table) -> str:
    """The page for readers."""
    lines = [
        "# Which client can do what with which backend",
        "",
        "What unmodified client libraries get through the gateway, cell by cell. Every cell is a test; the file behind them is",
        "[`tests/clients/expected.yaml`](../../tests/clients/expected.yaml), from which this page is written by",
        "`python -m tests.clients.table`. The column `vllm` runs with `make test-vllm`, the others with `make test`.",
        "",
        "## Backends",
        "",
        *(f"- **{name}**: {one.engine}." for name, one in table.backends.items()),
        "",
        "## What the words mean",
        "",
        *_meanings(table),
    ]
    for operation, means in table.operations.items():
        lines += ["", f"## {operation}", "", means, "", *_grid(table, operation)]
    lines += ["", "## What each client shows", "", *_shown(table)]
    return "\n".join(lines) + "\n"


def _meanings(table: Table) -> Iterator[str]:
    for name, result in table.results.items():
        said = f": {result.status}, {_code(result.message)}" if result.message else "."
        yield f"- **{name}**: {result.means}{said}"


def _code(text: str) -> str:
    """One line in the page's code style, whatever is in it."""
    marks = "``" if "`" in text else "`"
    pad = " " if "`" in text else ""
    return f"{marks}{pad}{' '.join(text.split())}{pad}{marks}"


def _grid(table: Table, operation: str) -> Iterator[str]:
    yield "| client | " + " | ".join(table.backends) + " |"
    yield "|---|" + "---|" * len(table.backends)
    for client in table.clients:
        row = table.cells[operation][client]
        yield f"| {client} | " + " | ".join(row[backend] for backend in table.backends) + " |"


def _shown(table: Table) -> Iterator[str]:
    yield "| client | protocol | shows | errors |"
    yield "|---|---|---|---|"
    for name, client in table.clients.items():
        shown = ", ".join(sorted(client.shows))
        less = "; ".join(
            f"{operation} without {', '.join(sorted(fields))}" for operation, fields in client.hides.items()
        )
        errors = ", ".join(f"{status} {error}" for status, error in client.errors.items())
        yield f"| {name} | {client.protocol} | {shown}{'; ' + less if less else ''} | {errors} |"


if __name__ == "__main__":
    PAGE.write_text(render(load()), encoding="utf-8")
