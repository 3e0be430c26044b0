"""A backup is the state of one moment, while others write; what is restored is what was saved, or nothing is changed."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest

from penstock.errors import ConfigError
from penstock.state import switches
from penstock.state.backup import backup, restore
from penstock.state.budgets import Budgets
from penstock.state.migrations import MIGRATIONS
from penstock.state.row import Row, Sum, Want, Whose
from penstock.state.store import Store
from penstock.state.switch import Event, Switch
from penstock.state.usage import Usage

NEWEST = MIGRATIONS[-1].number
DAY = Row("key:a", "tokens_per_day", "2026-11-21")


def fill(store: Store) -> None:
    """Something in several tables."""
    store.put_answers([("resp_1", "red", "gpu")])
    Usage(store).add([(Whose("2026-11-21", "red", "k1"), Sum(3, 1, 1000, 20))])
    Budgets(store).take([Want(DAY, 1000, 1, 400)])
    switches.change(store, Switch(alias="m"), Event(what="rollback", alias="m", who="me", made=1.0))


def held(store: Store) -> tuple[object, ...]:
    """The same, read back."""
    return (
        store.answer_place("resp_1"),
        Usage(store).since("2000-01-01"),
        Budgets(store).taken(DAY),
        [(one.what, one.who) for one in switches.events(store)],
    )


def test_there_and_back(state_url: str, tmp_path: Path) -> None:
    file = tmp_path / "copy.db"
    with Store(state_url) as store:
        fill(store)
        before = held(store)
        assert backup(store, file) == NEWEST
        store.put_answers([("resp_2", "blue", "gpu")])
        Budgets(store).take([Want(DAY, 1000, 1, 100)])
        assert restore(store, file) > 0
        assert held(store) == before
        assert store.answer_place("resp_2") is None
    assert file.stat().st_mode & 0o777 == 0o600


def test_from_one_kind_of_database_into_another(state_url: str, tmp_path: Path) -> None:
    file = tmp_path / "copy.db"
    with Store(state_url) as store:
        fill(store)
        before = held(store)
        backup(store, file)
    with Store(f"sqlite:///{tmp_path / 'other.db'}") as other:
        restore(other, file)
        assert held(other) == before
        backup(other, file)
    with Store(state_url) as store:
        restore(store, file)
        assert held(store) == before


def test_one_moment_while_others_write(state_url: str, tmp_path: Path) -> None:
    """Each transaction writes two rows: no copy has only one of them."""
    stop = threading.Event()

    def write() -> None:
        number = 0
        with Store(state_url) as own:
            while not stop.is_set():
                number += 1
                own.put_answers([(f"left-{number}", "t", "gpu"), (f"right-{number}", "t", "gpu")])

    writer = threading.Thread(target=write)
    writer.start()
    try:
        with Store(state_url) as store:
            for number in range(5):
                backup(store, tmp_path / f"copy-{number}.db")
    finally:
        stop.set()
        writer.join()
    for number in range(5):
        copy = sqlite3.connect(tmp_path / f"copy-{number}.db")
        sides = [row[0].partition("-") for row in copy.execute("SELECT id FROM answers")]
        copy.close()
        assert {at for side, _, at in sides if side == "left"} == {at for side, _, at in sides if side == "right"}


def test_a_backup_of_an_older_version_is_brought_forward(tmp_path: Path) -> None:
    file = tmp_path / "copy.db"
    with Store(f"sqlite:///{tmp_path / 'state.db'}") as store:
        store.put_answers([("resp_1", "red", "gpu")])
        store.migrate(4)
        assert backup(store, file) == 4
    with Store(f"sqlite:///{tmp_path / 'new.db'}") as store:
        restore(store, file)
        assert store.version() == NEWEST
        assert store.answer_place("resp_1") == ("red", "gpu")


@pytest.mark.parametrize("content", [b"", b"not a database at all" * 100, None])
def test_what_is_no_backup_changes_nothing(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "copy.db"
    with Store(f"sqlite:///{tmp_path / 'state.db'}") as store:
        fill(store)
        before = held(store)
        if content is None:
            backup(store, file)
            data = bytearray(file.read_bytes())
            data[4096 * 2 : 4096 * 3] = bytes(4096)
            file.write_bytes(data)
        else:
            file.write_bytes(content)
        with pytest.raises(ConfigError):
            restore(store, file)
        with pytest.raises(ConfigError):
            restore(store, tmp_path / "nothing.db")
        assert held(store) == before


def test_a_backup_of_a_newer_penstock_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "copy.db"
    with Store(f"sqlite:///{tmp_path / 'state.db'}") as store:
        backup(store, file)
        with sqlite3.connect(file) as raw:
            raw.execute("INSERT INTO migrations VALUES (?, 'later')", (NEWEST + 1,))
        raw.close()
        with pytest.raises(ConfigError, match="newer"):
            restore(store, file)


def test_a_backup_is_whole_or_not_there(tmp_path: Path) -> None:
    with Store(f"sqlite:///{tmp_path / 'state.db'}") as store, pytest.raises(ConfigError):
        backup(store, tmp_path / "no" / "folder" / "copy.db")
    assert not list(tmp_path.glob("**/copy.db"))
