"""Pairs are kept in order, no more than allowed, each alias by itself."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.state.pairs import Row, counts, forget, keep, read
from penstock.state.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(f"sqlite:///{tmp_path / 'state.db'}") as opened:
        yield opened


def row(alias: str, number: int) -> Row:
    return Row(alias, "tenant", 1_700_000_000.0 + number, f"{alias} {number}")


def test_the_newest_stay(store: Store) -> None:
    for number in range(12):
        keep(store, row("a", number), 5)
        keep(store, row("b", number), 100)
    assert read(store, "a") == [f"a {number}" for number in range(7, 12)]
    assert read(store, "b") == [f"b {number}" for number in range(12)]
    assert counts(store) == {"a": 5, "b": 12}
    keep(store, row("a", 12), 2)
    assert read(store, "a") == ["a 11", "a 12"]


def test_the_same_moment_is_no_conflict(store: Store) -> None:
    for _ in range(3):
        keep(store, row("a", 1), 10)
    assert len(read(store, "a")) == 3


def test_pairs_are_forgotten(store: Store) -> None:
    keep(store, row("a", 1), 10)
    keep(store, row("b", 1), 10)
    assert forget(store, "a") == 1
    assert forget(store, "a") == 0
    assert counts(store) == {"b": 1}


def test_several_writers_at_once(tmp_path: Path) -> None:
    """Several workers of a gateway keep their pairs in one table."""

    def write(name: str) -> None:
        with Store(f"sqlite:///{tmp_path / 'state.db'}") as own:
            for number in range(10):
                keep(own, row(name, number), 100)

    threads = [threading.Thread(target=write, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with Store(f"sqlite:///{tmp_path / 'state.db'}") as store:
        assert counts(store) == {"a": 10, "b": 10, "c": 10}
