"""Pairs are kept in order, no more than allowed, each alias by itself."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.state.pairs import Pairs, Row
from penstock.state.store import Store


@pytest.fixture
def pairs(tmp_path: Path) -> Iterator[Pairs]:
    with Store(f"sqlite:///{tmp_path / 'state.db'}") as opened:
        yield Pairs(opened)


def row(alias: str, number: int) -> Row:
    return Row(alias, "tenant", 1_700_000_000.0 + number, f"{alias} {number}")


def test_the_newest_stay(pairs: Pairs) -> None:
    for number in range(12):
        pairs.keep(row("a", number), 5)
        pairs.keep(row("b", number), 100)
    assert pairs.read("a") == [f"a {number}" for number in range(7, 12)]
    assert pairs.read("b") == [f"b {number}" for number in range(12)]
    assert pairs.counts() == {"a": 5, "b": 12}
    pairs.keep(row("a", 12), 2)
    assert pairs.read("a") == ["a 11", "a 12"]


def test_the_same_moment_is_no_conflict(pairs: Pairs) -> None:
    for _ in range(3):
        pairs.keep(row("a", 1), 10)
    assert len(pairs.read("a")) == 3


def test_pairs_are_forgotten(pairs: Pairs) -> None:
    pairs.keep(row("a", 1), 10)
    pairs.keep(row("b", 1), 10)
    assert pairs.forget("a") == 1
    assert pairs.forget("a") == 0
    assert pairs.counts() == {"b": 1}


def test_several_writers_at_once(tmp_path: Path) -> None:
    """Several workers of a gateway keep their pairs in one table."""

    def write(name: str) -> None:
        with Store(f"sqlite:///{tmp_path / 'state.db'}") as own:
            for number in range(10):
                Pairs(own).keep(row(name, number), 100)

    threads = [threading.Thread(target=write, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with Store(f"sqlite:///{tmp_path / 'state.db'}") as store:
        assert Pairs(store).counts() == {"a": 10, "b": 10, "c": 10}
