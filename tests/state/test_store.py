"""The database: its schema forwards and back, shared by processes, and answers kept and forgotten."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from penstock.errors import ConfigError
from penstock.state.migrations import MIGRATIONS
from penstock.state.store import KEPT, Store

NEWEST = MIGRATIONS[-1].number


def url(folder: Path) -> str:
    return f"sqlite:///{folder / 'deep' / 'state.db'}"


def schema(store: Store, folder: Path) -> set[str]:
    del store
    with sqlite3.connect(folder / "deep" / "state.db") as raw:
        rows = {
            f"{kind} {name} {text}" for kind, name, text in raw.execute("SELECT type, name, sql FROM sqlite_master")
        }
    raw.close()
    return rows


def test_migrations_go_up_down_and_up_again(tmp_path: Path) -> None:
    with Store(url(tmp_path)) as store:
        assert store.version() == NEWEST
        newest = schema(store, tmp_path)
        store.migrate(0)
        assert store.version() == 0
        assert not any(" answers" in row for row in schema(store, tmp_path))
        for number in range(1, NEWEST + 1):
            store.migrate(number)
            assert store.version() == number
        assert schema(store, tmp_path) == newest


def test_migrations_are_numbered_one_by_one() -> None:
    assert [one.number for one in MIGRATIONS] == list(range(1, NEWEST + 1))


def test_opening_again_changes_nothing(tmp_path: Path) -> None:
    with Store(url(tmp_path)) as store:
        store.put_answers([("resp_1", "tenant", "gpu")])
        before = schema(store, tmp_path)
    with Store(url(tmp_path)) as store:
        assert schema(store, tmp_path) == before
        assert store.answer_place("resp_1") == ("tenant", "gpu")


OPENER = """
import sys
from penstock.state.store import Store
print("ready", flush=True)
sys.stdin.readline()
with Store(sys.argv[1]) as store:
    store.put_answers([(sys.argv[2], "tenant", "gpu")])
    print(store.version())
"""


def test_processes_open_the_same_new_file_at_once(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    names = [f"resp_{number}" for number in range(3)]
    started = [
        subprocess.Popen(
            [sys.executable, "-c", OPENER, url(tmp_path), name],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for name in names
    ]  # fmt: skip
    for one in started:
        assert one.stdout is not None
        assert one.stdout.readline() == "ready\n"
    for one in started:
        assert one.stdin is not None
        one.stdin.write("\n")
        one.stdin.flush()
    for one in started:
        out, err = one.communicate(timeout=50)
        assert (one.returncode, out.strip()) == (0, str(NEWEST)), err
    with Store(url(tmp_path)) as store:
        assert [store.answer_place(name) for name in names] == [("tenant", "gpu")] * 3


def test_answers_are_kept(tmp_path: Path) -> None:
    with Store(url(tmp_path)) as store:
        store.put_answers([("resp_1", "a", "gpu-0"), ("resp_2", "b", "gpu-1")])
        store.put_answers([("resp_1", "a", "gpu-2"), ("resp_2", "a", "gpu-2")])
        assert store.answer_place("resp_1") == ("a", "gpu-2")
        assert store.answer_place("resp_2") == ("b", "gpu-1")
        assert store.answer_place("resp_3") is None


@pytest.mark.parametrize("answer", ["x" * 1000, "'; DROP TABLE answers; --", "é\N{GRINNING FACE}", ""])
def test_any_id_is_a_value(tmp_path: Path, answer: str) -> None:
    with Store(url(tmp_path)) as store:
        store.put_answers([(answer, "tenant", "gpu")])
        assert store.answer_place(answer) == ("tenant", "gpu")


def test_old_answers_are_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    with Store(url(tmp_path)) as store:
        monkeypatch.setattr(time, "time", lambda: now - KEPT - 60)
        store.put_answers([("old", "tenant", "gpu")])
        monkeypatch.setattr(time, "time", lambda: now - KEPT + 60)
        store.put_answers([("young", "tenant", "gpu")])
        monkeypatch.undo()
        store.put_answers([("new", "tenant", "gpu")])
        found = {name: store.answer_place(name) for name in ("old", "young", "new")}
        assert found == {"old": None, "young": ("tenant", "gpu"), "new": ("tenant", "gpu")}


def test_what_is_no_database_says_so(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    path.write_bytes(b"this is no database at all, but a text of some length" * 100)
    with pytest.raises(ConfigError, match=r"Opening the state at sqlite:///.*not a database") as error:
        Store(f"sqlite:///{path}")
    assert "`state` in penstock.yaml" in error.value.hint


def test_trouble_in_use_is_one_kind_of_error(tmp_path: Path) -> None:
    """So that whoever writes in the background can go on when the table is gone or the disk is full."""
    with Store(url(tmp_path)) as store:
        store.migrate(0)
        with pytest.raises(ConfigError, match="no such table"):
            store.put_answers([("resp_1", "tenant", "gpu")])
        with pytest.raises(ConfigError, match="no such table"):
            store.answer_place("resp_1")
