"""The database is opened when the first answer is to be kept, and its trouble stops nobody."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path

from penstock.errors import PenstockError, Unavailable
from penstock.gateway.answers import Answers
from penstock.gateway.places import Places
from penstock.gateway.record import Records
from penstock.gateway.sink import Sink


def url(folder: Path) -> str:
    return f"sqlite:///{folder / 'deep' / 'state.db'}"


def test_places_open_the_database_when_it_is_first_needed(tmp_path: Path) -> None:
    places = Places(url(tmp_path))
    assert not (tmp_path / "deep").exists()
    assert places.put_answers([("resp_1", "tenant", "gpu")])
    assert places.answer_place("resp_1") == ("tenant", "gpu")
    places.close()
    assert places.answer_place("resp_1") == ("tenant", "gpu")
    places.close()


def test_a_database_that_cannot_be_opened_stops_nobody_and_is_asked_again(tmp_path: Path) -> None:
    """Whoever offers the places keeps them and offers them again."""
    file = tmp_path / "deep"
    file.write_text("a file where the folder of the state should be")
    places = Places(url(tmp_path))
    assert not places.put_answers([("resp_1", "tenant", "gpu")])
    assert not places.put_answers([("resp_1", "tenant", "gpu")])
    assert places.failures == 2
    file.unlink()
    assert places.put_answers([("resp_1", "tenant", "gpu")])
    assert places.answer_place("resp_1") == ("tenant", "gpu")
    places.close()


class Broken:
    """A state with an error of ours in it."""

    def put_answers(self, places: list[tuple[str, str, str]]) -> bool:
        del places
        return True

    def answer_place(self, answer: str) -> tuple[str, str] | None:
        raise KeyError(answer)


async def test_whoever_waits_for_a_look_is_called_whatever_becomes_of_it() -> None:
    """Else a request would wait without a limit."""
    told: asyncio.Queue[PenstockError | None] = asyncio.Queue()
    answers = Answers(Records(lines=False, json=True, places=Broken(), out=Sink(io.BytesIO())))
    answers.look_up("resp_1", told.put_nowait)
    async with asyncio.timeout(10):
        assert isinstance(await told.get(), Unavailable)
