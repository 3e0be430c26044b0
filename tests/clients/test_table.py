"""The table of the client matrix is whole, and the page that shows it is current."""

from __future__ import annotations

from tests.clients.clients import CLIENTS
from tests.clients.table import PAGE, load, render


def test_every_cell_is_there_and_none_is_left_over() -> None:
    """A client, an operation or a backend cannot be added without saying what is expected of it."""
    table = load()
    assert list(table.clients) == list(CLIENTS)
    assert set(table.cells) == set(table.operations)
    for operation in table.operations:
        assert set(table.cells[operation]) == set(table.clients), operation
        for client, row in table.cells[operation].items():
            assert set(row) == set(table.backends), (operation, client)
            assert set(row.values()) <= set(table.results), (operation, client)


def test_every_result_is_used() -> None:
    table = load()
    assert set(table.results) == {cell.result for cell in table.all_cells()}


def test_the_page_is_current() -> None:
    """`python -m tests.clients.table` writes it."""
    assert PAGE.read_text(encoding="utf-8") == render(load())
