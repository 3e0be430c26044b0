"""The request log: whole lines, off the loop, and what is lost is counted; places of answers until the state has them."""

from __future__ import annotations

import io
import json
import threading
from datetime import UTC, datetime
from typing import Any

import pytest

from penstock.gateway.record import BUFFER, Record, Records
from penstock.gateway.sink import Sink

LIMIT = 20.0
WHEN = datetime(2026, 11, 21, 15, 4, 5, 678900, UTC).timestamp()


class Shelf:
    """Places in memory."""

    def __init__(self) -> None:
        self.kept: dict[str, tuple[str, str]] = {}
        self.full = False
        self.refused = threading.Event()

    def put_answers(self, places: list[tuple[str, str, str]]) -> bool:
        if self.full:
            self.refused.set()
            return False
        self.kept.update({answer: (tenant, backend) for answer, tenant, backend in places})
        return True

    def answer_place(self, answer: str) -> tuple[str, str] | None:
        return self.kept.get(answer)


def record(**more: Any) -> Record:  # noqa: ANN401 - any field of a record
    usual: dict[str, Any] = {"event": "request", "level": "info", "time": WHEN, "request": "r", "caller": "c"}
    return Record(**{**usual, "path": "/v1/x", "status": 200, "seconds": 0.25, **more})


def written(*records: Record, as_json: bool) -> list[str]:
    out = io.BytesIO()
    log = Records(lines=True, json=as_json, out=Sink(out))
    log.out.start()
    log.start()
    for one in records:
        log.add(one)
    log.close()
    log.out.close()
    text = out.getvalue().decode()
    assert not text or text.endswith("\n")
    return text.splitlines()


def test_a_json_line_is_one_object_with_what_differs_from_the_usual() -> None:
    (line,) = written(record(alias="m", error='two\nlines "quoted" é'), as_json=True)
    assert json.loads(line) == {
        "event": "request", "level": "info", "time": "2026-11-21T15:04:05.678900Z", "request": "r", "caller": "c", "path": "/v1/x", "status": 200,
        "seconds": 0.25, "alias": "m",
        "error": 'two\nlines "quoted" é',
    }  # fmt: skip


def test_a_line_for_people() -> None:
    (line,) = written(
        record(alias="m", backend="gpu", prompt_tokens=3, completion_tokens=4, fallback="5xx", outcome="broken"),
        as_json=False,
    )
    assert line == "2026-11-21T15:04:05.678Z 200 /v1/x m → gpu 3+4 tokens 250 ms fallback: 5xx broken"


def test_a_line_for_people_stays_one_line() -> None:
    (line,) = written(record(error="engine said\n2026 200 /forged"), as_json=False)
    assert line.endswith("engine said 2026 200 /forged")


def test_nothing_written_is_lost_at_the_end() -> None:
    lines = written(*(record(request=str(number)) for number in range(500)), as_json=True)
    assert [json.loads(line)["request"] for line in lines] == [str(number) for number in range(500)]


def test_what_does_not_fit_is_counted() -> None:
    """The thread has not been started, so nothing is taken out."""
    sink = Sink(io.BytesIO())
    log = Records(lines=True, json=True, out=sink)
    for _ in range(BUFFER + 7):
        log.add(record())
    assert sink.lost == 7


def test_what_the_state_could_not_take_is_offered_again() -> None:
    shelf = Shelf()
    shelf.full = True
    told = threading.Event()
    log = Records(lines=False, json=True, places=shelf, out=Sink(io.BytesIO()))
    log.start()
    assert log.stuck("resp_1", "tenant", "gpu", told.set)
    assert shelf.refused.wait(LIMIT)
    assert told.wait(LIMIT)
    assert log.unwritten == 1
    shelf.full = False
    log.close()
    assert shelf.kept == {"resp_1": ("tenant", "gpu")}
    assert log.unwritten == 0


def test_places_that_wait_for_the_state_have_a_bound() -> None:
    log = Records(lines=False, json=True, places=Shelf(), out=Sink(io.BytesIO()))
    for number in range(BUFFER + 3):
        log.stuck(f"resp_{number}", "tenant", "gpu", list)
    assert (log.unwritten, log.forgotten) == (BUFFER, 3)


@pytest.mark.parametrize("lines", [True, False])
def test_where_answers_live_is_kept(lines: bool) -> None:  # noqa: FBT001 - both settings
    shelf = Shelf()
    told = threading.Event()
    log = Records(lines=lines, json=True, places=shelf, out=Sink(io.BytesIO()))
    log.start()
    assert log.stuck("resp_1", "tenant", "gpu", told.set)
    log.close()
    assert told.is_set()
    assert shelf.kept == {"resp_1": ("tenant", "gpu")}
    assert log.where("resp_1") == ("tenant", "gpu")
    assert Records(lines=lines, json=True, out=Sink(io.BytesIO())).where("resp_1") is None
