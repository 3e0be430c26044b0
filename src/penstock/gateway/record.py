"""What is kept of a request once it is over: one line of the log, and where its answer lives.

Both are collected on the loop and worked off by one thread within a quarter of a second, so that no byte is delayed. Lines
go to the sink of the log (sink.py). What the state cannot take now, its disk being full for one, is kept and offered again.
The buffers are bounded; what does not fit is counted. Receipts will be written from the same place.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

import msgspec

from penstock.gateway.sink import Sink

BUFFER = 10_000
EVERY = 0.25
AT_ONCE = 256
"""Records made into text in one go."""
LATER = 2.0
"""Seconds until the state is offered again what it could not take."""


class Record(msgspec.Struct, omit_defaults=True, gc=False):
    """One request, from its first byte to its last."""

    event: str
    level: str
    time: datetime | float
    """When it ended: seconds since 1970, in UTC; a date once it is written."""
    request: str
    caller: str
    path: str
    status: int
    seconds: float
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
    midstream: str = ""
    """How another engine was asked to go on with a begun answer."""
    finish: str = ""
    outcome: str = "answered"
    error: str = ""
    trace: str = ""
    end_user: str = ""
    """Whom the caller asks for, where it may say so."""
    verdicts: str = ""
    """What guardrails did: steps and what came of them, never a text."""


class Places(Protocol):
    """Where is kept whose stored answers are and where they live; the store implements it."""

    def put_answers(self, places: list[tuple[str, str, str]]) -> bool:
        """Remember tenant and backend of each answer id; False where that is not possible now."""

    def answer_place(self, answer: str) -> tuple[str, str] | None:
        """The tenant of an answer, and the backend that made it."""


class Records:
    """The writer of one process: a bounded buffer and the thread that empties it."""

    def __init__(self, *, lines: bool, json: bool, places: Places | None = None, out: Sink | None = None) -> None:
        self.lines = lines
        self._json = json
        self._places = places
        self.out = out or Sink()
        self._buffer: deque[Record] = deque()
        self._sticky: deque[tuple[str, str, str]] = deque()
        self._told: deque[Callable[[], object]] = deque()
        """Whom to call about each place that was added since the state was offered some."""
        self._due = 0.0
        """Monotonic time before which the state is not asked again."""
        self.forgotten = 0
        """Places of answers that the state will never have: it took nothing for too long."""
        self._wake = threading.Event()
        self._stop = False
        self._thread = threading.Thread(target=self._run, name="records", daemon=True)
        self._encode = msgspec.json.Encoder().encode_lines

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
            self.out.lose(1)
        else:
            self._buffer.append(record)

    def stuck(self, answer: str, tenant: str, backend: str, then: Callable[[], object]) -> bool:
        """Keep whose an answer is and where it lives, at once; `then` is called by the thread that does, also where it could not.

        False where nothing is kept, and nobody calls.
        """
        if self._places is None:
            return False
        if len(self._sticky) >= BUFFER:
            self.forgotten += 1
            return False
        self._sticky.append((answer, tenant, backend))
        self._told.append(then)
        self._wake.set()
        return True

    @property
    def unwritten(self) -> int:
        """Places of answers that the state does not have yet."""
        return len(self._sticky)

    def where(self, answer: str) -> tuple[str, str] | None:
        """Tenant and backend of an answer that this process does not remember. Blocks; call it in a thread."""
        return self._places.answer_place(answer) if self._places is not None else None

    def _run(self) -> None:
        while not self._stop:
            self._wake.wait(EVERY)
            self._wake.clear()
            self._flush()
        self._flush()

    def _text(self, records: list[Record]) -> bytes:
        for record in records:
            if not isinstance(record.time, datetime):
                record.time = datetime.fromtimestamp(record.time, UTC)
        return self._encode(records)[:-1] if self._json else b"\n".join(map(_line, records))

    def _flush(self) -> None:
        # Made into text only here: many at once cost much less than each between two requests. Not so many that the loop,
        # which cannot run meanwhile, would notice.
        while self._buffer:
            some = [self._buffer.popleft() for _ in range(min(len(self._buffer), AT_ONCE))]
            self.out.say(self._text(some), len(some))
        told = [self._told.popleft() for _ in range(len(self._told))]
        kept = list(self._sticky)
        if kept and self._places is not None and (self._stop or time.monotonic() >= self._due):
            if self._places.put_answers(kept):
                for _ in kept:
                    self._sticky.popleft()
            else:
                self._due = time.monotonic() + LATER
        for then in told:
            with contextlib.suppress(RuntimeError):  # the loop has ended, and with it whoever waited
                then()


def _line(record: Record) -> bytes:
    """For people at a terminal: one line, whatever an engine's error says."""
    when = record.time if isinstance(record.time, datetime) else datetime.fromtimestamp(record.time, UTC)
    return (
        f"{when:%Y-%m-%dT%H:%M:%S}.{when.microsecond // 1000:03d}Z {record.status} {record.path} {record.alias or '-'} → {record.backend or '-'} "
        f"{record.prompt_tokens}+{record.completion_tokens} tokens {record.seconds * 1000:.0f} ms"
        f"{' fallback: ' + record.fallback if record.fallback else ''}"
        f"{' ' + record.outcome if record.outcome != 'answered' else ''}"
        f"{' ' + ' '.join(record.error.split()) if record.error else ''}"
    ).encode()
