"""What is kept of a request once it is over: one line of the log, and where its answer lives.

Lines are collected on the loop and written by one thread, so that a slow disk or terminal never delays a byte. The
buffer is bounded; what does not fit is counted and said. Receipts will be written from the same place.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from typing import Protocol, TextIO

import msgspec

BUFFER = 10_000
EVERY = 0.5


class Record(msgspec.Struct, frozen=True, omit_defaults=True):
    """One request, from its first byte to its last."""

    time: str
    request: str
    caller: str
    path: str
    status: int
    seconds: float
    event: str = "request"
    level: str = "info"
    alias: str = ""
    backend: str = ""
    model: str = ""
    stream: bool = False
    prompt_tokens: int = 0
    completion_tokens: int = 0
    first_token: float = 0.0
    queued: float = 0.0
    attempts: int = 0
    fallback: str = ""
    finish: str = ""
    outcome: str = "answered"
    error: str = ""
    trace: str = ""


class Places(Protocol):
    """Where the backends of stored answers are kept; the store implements it."""

    def put_answers(self, places: list[tuple[str, str]]) -> None:
        """Remember the backend of each answer id."""

    def answer_backend(self, answer: str) -> str | None:
        """The backend that made an answer."""


class Records:
    """The writer of one process: a bounded buffer and the thread that empties it."""

    def __init__(self, *, lines: bool, json: bool, places: Places | None = None, out: TextIO | None = None) -> None:
        self.lines = lines
        self._json = json
        self._places = places
        self._out = out or sys.stderr
        self._buffer: deque[Record] = deque()
        self._sticky: deque[tuple[str, str]] = deque()
        self._lost = 0
        self._wake = threading.Event()
        self._stop = False
        self._thread = threading.Thread(target=self._run, name="records", daemon=True)
        self._encode = msgspec.json.Encoder().encode

    def start(self) -> None:
        """Begin writing."""
        self._thread.start()

    def close(self) -> None:
        """Write what is left, within two seconds."""
        self._stop = True
        self._wake.set()
        self._thread.join(timeout=2.0)

    def add(self, record: Record) -> None:
        """Keep a finished request; never blocks."""
        if len(self._buffer) >= BUFFER:
            self._lost += 1
            return
        self._buffer.append(record)

    def stuck(self, answer: str, backend: str) -> None:
        """Keep where an answer lives."""
        if self._places is not None and len(self._sticky) < BUFFER:
            self._sticky.append((answer, backend))

    def where(self, answer: str) -> str | None:
        """The backend of an answer that this process does not remember. Blocks; call it in a thread."""
        return self._places.answer_backend(answer) if self._places is not None else None

    def _run(self) -> None:
        while not self._stop:
            self._wake.wait(EVERY)
            self._flush()
        self._flush()

    def _flush(self) -> None:
        lines = [self._line(self._buffer.popleft()) for _ in range(len(self._buffer))]
        if self._lost:
            lines.append(f"{self._lost} request lines were lost: the log could not be written fast enough.\n")
            self._lost = 0
        if lines:
            self._out.write("".join(lines))
            self._out.flush()
        kept = [self._sticky.popleft() for _ in range(len(self._sticky))]
        if kept and self._places is not None:
            self._places.put_answers(kept)

    def _line(self, record: Record) -> str:
        if self._json:
            return self._encode(record).decode() + "\n"
        return (
            f"{record.time} {record.status} {record.path} {record.alias or '-'} → {record.backend or '-'} "
            f"{record.prompt_tokens}+{record.completion_tokens} tokens {record.seconds * 1000:.0f} ms"
            f"{' fallback: ' + record.fallback if record.fallback else ''}"
            f"{' ' + record.outcome if record.outcome != 'answered' else ''}"
            f"{' ' + record.error if record.error else ''}\n"
        )


_second = [0, ""]


def timestamp() -> str:
    """Wall time as RFC 3339 in UTC with milliseconds; the second's text is made once a second."""
    now = time.time()
    whole = int(now)
    if whole != _second[0]:
        _second[0], _second[1] = whole, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole))
    return f"{_second[1]}.{int((now - whole) * 1000):03d}Z"
