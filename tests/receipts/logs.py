"""Small logs for tests: a spool that says what happened, and the writer that logs it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from penstock.receipts import spool
from penstock.receipts.note import Signer
from penstock.receipts.spool import Closed, Opened
from penstock.receipts.writer import SPOOL, Writer

SIGNER = Signer("penstock.example/log", b"\x07" * 32)
TENANTS = ("acme", "zebra", "quiet")


def opened(number: int, **more: object) -> Opened:
    fields: dict[str, object] = {
        "number": number, "id": f"req-{number}", "time": 1_763_762_725_000_000 + number, "tenant": TENANTS[number % 3], "key": "k1",
        "caller": "alice", "alias": "assistant", "path": "/v1/chat/completions", "stream": False, "target": 0, "backend": "gpu-0",
        "model": "m", "digest": None, "prompt": "ab" * 32,
    }  # fmt: skip
    return Opened(**(fields | more))  # type: ignore[arg-type]


def closed(number: int, **more: object) -> Closed:
    one = opened(number)
    fields: dict[str, object] = {
        "number": number, "id": one.id, "time": one.time, "tenant": one.tenant, "key": "k1", "caller": "alice", "alias": "assistant",
        "path": one.path, "stream": False, "status": 200, "outcome": "answered", "target": 0, "backend": "gpu-0", "model": "m", "attempts": 1,
        "finish": "stop", "prompt": "ab" * 32, "answer": "cd" * 32, "usage": (10, 20), "sent": 100, "first": None, "total": 5000,
    }  # fmt: skip
    return Closed(**(fields | more))  # type: ignore[arg-type]


def lines(first: int, end: int) -> bytes:
    return b"".join(spool.encode(one(number)) + b"\n" for number in range(first, end) for one in (opened, closed))


@contextmanager
def writing(place: Path) -> Iterator[Writer]:
    place.mkdir(exist_ok=True)
    writer = Writer(place, SIGNER)
    try:
        yield writer
    finally:
        writer.close()


def say(place: Path, data: bytes, name: str = "0001") -> int:
    """A spool file that says this, still held by its process; its descriptor."""
    (place / SPOOL).mkdir(parents=True, exist_ok=True)
    number = spool.create(place / SPOOL, name)
    os.write(number, data)
    return number


def logged(place: Path, count: int) -> None:
    """A folder whose log has so many entries."""
    os.close(say(place, lines(0, count)))
    with writing(place) as writer:
        while writer.step().receipts:
            pass
        assert writer.size == count
