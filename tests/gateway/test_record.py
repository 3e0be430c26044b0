"""The request log: whole lines, off the loop, and what is lost is counted."""

from __future__ import annotations

import io
import json
import threading
from datetime import UTC, datetime
from typing import Any

import pytest

from penstock.gateway.record import BUFFER, Record, Records

LIMIT = 20.0
WHEN = datetime(2026, 11, 21, 15, 4, 5, 678900, UTC).timestamp()


class Slow(io.BytesIO):
    """A disk that takes nothing until it is let go, and says when somebody tries."""

    def __init__(self) -> None:
        super().__init__()
        self.tried = threading.Event()
        self.go = threading.Event()

    def write(self, data: Any) -> int:  # noqa: ANN401 - a buffer of any kind
        self.tried.set()
        assert self.go.wait(LIMIT)
        return super().write(data)


class Full(io.BytesIO):
    """A disk that is full at first."""

    def __init__(self) -> None:
        super().__init__()
        self.failed = threading.Event()
        self.room = threading.Event()

    def write(self, data: Any) -> int:  # noqa: ANN401 - a buffer of any kind
        if not self.room.is_set():
            self.failed.set()
            raise OSError(28, "No space left on device")
        return super().write(data)


class Shelf:
    """Places in memory."""

    def __init__(self) -> None:
        self.kept: dict[str, tuple[str, str]] = {}

    def put_answers(self, places: list[tuple[str, str, str]]) -> None:
        self.kept.update({answer: (tenant, backend) for answer, tenant, backend in places})

    def answer_place(self, answer: str) -> tuple[str, str] | None:
        return self.kept.get(answer)


def record(**more: Any) -> Record:  # noqa: ANN401 - any field of a record
    usual: dict[str, Any] = {"event": "request", "level": "info", "time": WHEN, "request": "r", "caller": "c"}
    return Record(**{**usual, "path": "/v1/x", "status": 200, "seconds": 0.25, **more})


def written(*records: Record, as_json: bool) -> list[str]:
    out = io.BytesIO()
    log = Records(lines=True, json=as_json, out=out)
    log.start()
    for one in records:
        log.add(one)
    log.close()
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


def test_what_does_not_fit_is_counted_and_said() -> None:
    out = Slow()
    log = Records(lines=True, json=True, out=out)
    log.start()
    log.add(record())
    assert out.tried.wait(LIMIT)
    for _ in range(BUFFER + 7):
        log.add(record())
    out.go.set()
    log.close()
    lines = out.getvalue().decode().splitlines()
    assert len(lines) == 1 + BUFFER + 1
    assert lines[-1].startswith("7 request lines were lost")


def test_a_full_disk_does_not_end_the_log() -> None:
    out = Full()
    log = Records(lines=True, json=True, out=out)
    log.start()
    log.add(record())
    assert out.failed.wait(LIMIT)
    out.room.set()
    log.add(record(request="later"))
    log.close()
    lines = out.getvalue().decode().splitlines()
    assert json.loads(lines[0])["request"] == "later"
    assert "request lines were lost" in lines[-1]


@pytest.mark.parametrize("lines", [True, False])
def test_where_answers_live_is_kept(lines: bool) -> None:  # noqa: FBT001 - both settings
    shelf = Shelf()
    log = Records(lines=lines, json=True, places=shelf, out=io.BytesIO())
    log.start()
    log.stuck("resp_1", "tenant", "gpu")
    log.close()
    assert shelf.kept == {"resp_1": ("tenant", "gpu")}
    assert log.where("resp_1") == ("tenant", "gpu")
    assert Records(lines=lines, json=True, out=io.BytesIO()).where("resp_1") is None
