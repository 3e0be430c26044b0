"""Switches and events: kept, in order, and never over somebody else's change."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from penstock.config import Target
from penstock.state import switches
from penstock.state.glance import has_rows
from penstock.state.store import Store
from penstock.state.switch import Canary, Changed, Event, Switch

TARGET = Target(backends=("gpu",), model="big")
CANARY = Canary(id="c1", target=TARGET, steps=(5.0, 50.0), since=10.0, every=60.0, services=("rag",))


def event(what: str = "canary start", alias: str = "m", **more: str) -> Event:
    return Event(what=what, alias=alias, who="uid 1000 (ann)", detail=more)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(f"sqlite:///{tmp_path / 'state.db'}") as opened:
        yield opened


def test_a_switch_is_read_as_it_was_written(store: Store, tmp_path: Path) -> None:
    assert switches.read(store) == {}
    kept = switches.change(store, Switch(alias="m", canary=CANARY), event())
    assert kept == Switch(alias="m", canary=CANARY, revision=1)
    with Store(f"sqlite:///{tmp_path / 'state.db'}") as again:
        assert switches.read(again) == {"m": kept}


def test_what_was_decided_on_an_older_revision_is_refused_with_its_event(store: Store) -> None:
    first = switches.change(store, Switch(alias="m", canary=CANARY), event())
    second = switches.change(store, msgspec.structs.replace(first, override=TARGET, canary=None), event("x"))
    for late in (first, Switch(alias="m")):
        with pytest.raises(Changed, match="changed by somebody else"):
            switches.change(store, late, event("canary step"))
    assert switches.read(store) == {"m": second}
    assert [one.what for one in switches.events(store)] == ["x", "canary start"]


def test_revisions_go_on_after_a_rollback(store: Store) -> None:
    """A rollback and a change that was decided before it cannot both come through."""
    first = switches.change(store, Switch(alias="m", canary=CANARY), event())
    plain = switches.change(store, msgspec.structs.replace(first, canary=None), event("rollback"))
    assert plain.plain
    assert switches.change(store, plain, event()).revision == 3


def test_events_newest_first_of_one_alias_or_of_all(store: Store) -> None:
    switches.change(store, Switch(alias="a"), event(alias="a", percent="5"))
    switches.change(store, Switch(alias="b"), event(alias="b"))
    switches.change(store, Switch(alias="a", revision=1), event("rollback", alias="a"))
    assert [one.alias for one in switches.events(store)] == ["a", "b", "a"]
    of_a = switches.events(store, "a")
    assert [(one.what, one.detail) for one in of_a] == [("rollback", {}), ("canary start", {"percent": "5"})]
    assert of_a[0].made >= of_a[1].made > 0
    assert [one.what for one in switches.events(store, "a", limit=1)] == ["rollback"]


def test_a_glance_needs_no_database_library(store: Store, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'state.db'}"
    assert not has_rows(f"sqlite:///{tmp_path / 'none.db'}", "switches")
    assert not has_rows(url, "switches")
    switches.change(store, Switch(alias="m"), event())
    assert has_rows(url, "switches")
    assert has_rows("postgresql://host/db", "switches")


def test_a_glance_at_a_file_of_an_older_release(tmp_path: Path) -> None:
    with Store(f"sqlite:///{tmp_path / 'state.db'}") as old:
        old.migrate(1)
    assert not has_rows(f"sqlite:///{tmp_path / 'state.db'}", "switches")


def test_a_glance_at_what_is_no_database_leaves_the_complaint_to_the_store(tmp_path: Path) -> None:
    (tmp_path / "state.db").write_bytes(b"no database at all" * 100)
    assert has_rows(f"sqlite:///{tmp_path / 'state.db'}", "switches")
