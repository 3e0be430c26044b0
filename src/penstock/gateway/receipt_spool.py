"""The spool of one worker: lines written at once, made durable by a thread, and what happens when neither is possible.

A line is one write(2): whatever kills this process afterwards, the kernel has it. Every 200 ms a thread brings the files to
the disk, which bounds what a power cut can take; whoever needs more is told when that was done. What cannot be written is
kept in memory up to a bound, offered again, and counted. Files are rotated, and a request ends in the file it began in.
"""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import structlog

from penstock.receipts import spool

log = structlog.stdlib.get_logger("penstock.receipts")

EVERY = 0.2
"""Seconds between two times that the files are brought to the disk."""
LOOKS = 5
"""Of those, one in so many looks at how much waits."""
ROTATE = 16 << 20
OWED = 16 << 20
"""Bytes of lines that wait in memory while none can be written."""
STOP = 5.0


class File:
    """One spool file."""

    __slots__ = ("_numbers", "number", "open", "size", "torn")

    def __init__(self, number: int) -> None:
        self.number = number
        self.size = 0
        self.open = 0
        """Requests that began in it and have not ended."""
        self.torn = False
        self._numbers = 0

    def next(self) -> int:
        """A number for a request of this file."""
        self._numbers += 1
        return self._numbers


class Spool:
    """What one process writes. Its methods are called on the loop, but for those of the thread."""

    def __init__(self, place: Path, bound: int) -> None:
        self._place = place
        self._bound = bound
        self.file = self._create()
        self._retired: list[File] = []
        self._owed: deque[tuple[File, bytes]] = deque()
        self._owed_size = 0
        self._waiting: list[Callable[[], object]] = []
        self.lost = 0
        """Lines that nobody will read."""
        self.size = 0
        """Bytes that wait in the folder, of all workers."""
        self.failing = ""
        """Why lines cannot be written or made durable; empty while they can."""
        self._wake = threading.Event()
        self._stop = False
        self._thread = threading.Thread(target=self._run, name="receipts", daemon=True)

    def _create(self) -> File:
        name = f"{time.time_ns():020d}-{os.getpid()}-{secrets.token_hex(4)}"
        return File(spool.create(self._place, name))

    def start(self) -> None:
        """Begin to make durable."""
        self._thread.start()

    def close(self) -> None:
        """Write what is left and let go of the files, within five seconds."""
        self._stop = True
        self._wake.set()
        self._thread.join(timeout=STOP)

    @property
    def full(self) -> bool:
        """Whether no line should be added: none can be written, or too many wait already."""
        return bool(self.failing) or self.size > self._bound

    @property
    def owed(self) -> int:
        """Lines that wait in memory."""
        return len(self._owed)

    def put(self, file: File, line: bytes) -> bool:
        """One line, with its end; False where it waits in memory or is lost."""
        if not self._owed and self._write(file, line):
            return True
        if self._owed_size + len(line) > OWED:
            self.lost += 1
        else:
            self._owed_size += len(line)
            self._owed.append((file, line))
        return False

    def _write(self, file: File, line: bytes) -> bool:
        # What a full disk cut must not run into the next line.
        data = b"\n" + line if file.torn else line
        try:
            taken = os.write(file.number, data)
        except OSError as error:
            self._fail(error.strerror or str(error))
            return False
        file.size += taken
        if taken < len(data):
            file.torn = True
            self._fail("the disk is full")
            return False
        file.torn = False
        if file.size > ROTATE and file is self.file:
            self._rotate()
        return True

    def _fail(self, why: str) -> None:
        if not self.failing:
            log.error("receipts cannot be written", problem=why, folder=str(self._place))
        self.failing = why

    def _rotate(self) -> None:
        try:
            fresh = self._create()
        except OSError:
            self.file.size = 0  # asked again after as much more
            return
        self._retired.append(self.file)
        self.file = fresh

    def durable(self, then: Callable[[], object]) -> None:
        """Bring what was written to the disk now; `then` is called by the thread, also where that failed."""
        self._waiting.append(then)
        self._wake.set()

    # ── the thread ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _run(self) -> None:
        rounds = 0
        while not self._stop:
            self._wake.wait(EVERY)
            self._wake.clear()
            self._round(look=rounds % LOOKS == 0)
            rounds += 1
        self._round(look=False)
        for file in (*self._retired, self.file):
            os.close(file.number)

    def _round(self, *, look: bool) -> None:
        told = [self._waiting.pop(0) for _ in range(len(self._waiting))]
        well = self._pay()
        for file in (*self._retired, self.file):
            well = self._sync(file) and well
        if well and self.failing:
            log.info("receipts are written again")
            self.failing = ""
        for then in told:
            then()
        for file in [one for one in self._retired if not one.open and not self._owed]:
            self._retired.remove(file)
            os.close(file.number)
        if look:
            self._look()

    def _pay(self) -> bool:
        """What waited in memory, as long as it can be written."""
        while self._owed:
            file, line = self._owed[0]
            if not self._write(file, line):
                return False
            self._owed.popleft()
            self._owed_size -= len(line)
        return True

    def _sync(self, file: File) -> bool:
        try:
            os.fdatasync(file.number)
        except OSError as error:
            self._fail(error.strerror or str(error))
            return False
        return True

    def _look(self) -> None:
        try:
            self.size = sum(one.stat().st_size for one in self._place.iterdir())
            gone = os.fstat(self.file.number).st_nlink == 0
        except OSError as error:
            self._fail(error.strerror or str(error))
            return
        if gone:
            self._fail("the spool was deleted")
            self._rotate()
