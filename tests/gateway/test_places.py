"""The database is opened when the first answer is to be kept, and its trouble stops nobody."""

from __future__ import annotations

from pathlib import Path

from penstock.gateway.places import Places


def url(folder: Path) -> str:
    return f"sqlite:///{folder / 'deep' / 'state.db'}"


def test_places_open_the_database_when_it_is_first_needed(tmp_path: Path) -> None:
    places = Places(url(tmp_path))
    assert not (tmp_path / "deep").exists()
    places.put_answers([("resp_1", "tenant", "gpu")])
    assert places.answer_place("resp_1") == ("tenant", "gpu")
    places.close()
    assert places.answer_place("resp_1") == ("tenant", "gpu")
    places.close()


def test_a_database_that_cannot_be_opened_stops_nobody(tmp_path: Path) -> None:
    places = Places(f"sqlite:///{tmp_path}")
    places.put_answers([("resp_1", "tenant", "gpu")])
    places.close()
