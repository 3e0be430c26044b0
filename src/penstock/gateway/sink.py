"""Where the log of a process goes: one thread writes it, so that nothing else ever waits for a disk, a pipe or a terminal.

What cannot be written is lost rather than waited for: the buffer is bounded, what did not fit or found no room on a disk
is counted, and said once writing works again. Written without a buffer of Python's: one that a stalled pipe holds would
keep the process from ending.
"""

from __future__ import annotations

import atexit
import io
import threading
import time
from typing import Protocol

import structlog

log = structlog.stdlib.get_logger("penstock.log")

STDERR = 2
BYTES = 8 << 20
"""Of lines that wait to be written: at 300 bytes each, 28,000."""
LAST = 2.0
"""Seconds for what is left when the process ends."""
_FULL_PIPE = 0.02
"""Seconds until the next attempt, where the other side of our stderr made it non-blocking."""


class Out(Protocol):
    """A raw file: takes some of the bytes, None for none of them now; `OSError` where it cannot."""

    def write(self, data: bytes, /) -> int | None:
        """How many bytes it took."""


class Sink:
    """The writer of one process's log."""

    def __init__(self, out: Out | None = None) -> None:
        self._out = out or io.FileIO(STDERR, "wb", closefd=False)
        self._waiting: list[tuple[bytes, int]] = []
        """Texts, and how many lines each is."""
        self._size = 0
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stop = False
        self._unsaid = 0
        self._torn = False
        self.lost = 0
        """Lines that nobody will read."""
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)

    def start(self) -> None:
        """Begin writing; what is left is written when the interpreter ends, if not before."""
        self._thread.start()
        atexit.register(self.close)

    def close(self) -> None:
        """Write what is left, within two seconds."""
        atexit.unregister(self.close)
        self._stop = True
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join(timeout=LAST)

    def say(self, text: bytes, lines: int = 1) -> None:
        """One line or several, without the last one's end; never blocks, whoever calls."""
        with self._lock:
            if self._size >= BYTES:
                self._lose(lines)
            else:
                self._waiting.append((text, lines))
                self._size += len(text) + 1
        self._wake.set()

    def lose(self, lines: int) -> None:
        """So many never came so far."""
        with self._lock:
            self._lose(lines)

    def _lose(self, lines: int) -> None:
        self.lost += lines
        self._unsaid += lines

    def _run(self) -> None:
        while not self._stop:
            self._wake.wait()
            self._wake.clear()
            self._write()
        self._write()

    def _write(self) -> None:
        while True:
            with self._lock:
                waiting, self._waiting, self._size = self._waiting, [], 0
            if not waiting:
                return
            if self._put([text for text, _ in waiting], sum(lines for _, lines in waiting)):
                self._tell()

    def _put(self, texts: list[bytes], lines: int) -> bool:
        """All of them; False where some were lost."""
        # A line that was cut by a full disk ends before the next one begins.
        data = b"\n".join([*([b""] if self._torn else []), *texts, b""])
        left = memoryview(data)
        while left:
            try:
                taken = self._out.write(bytes(left) if len(left) < len(data) else data)
            except OSError:
                # A full disk or a closed terminal: there is nowhere to say it now.
                self.lose(min(bytes(left).count(b"\n"), lines))
                self._torn = self._torn or 0 < len(left) < len(data)
                return False
            if taken is None:
                time.sleep(_FULL_PIPE)
            left = left[taken or 0 :]
        self._torn = False
        return True

    def _tell(self) -> None:
        with self._lock:
            unsaid, self._unsaid = self._unsaid, 0
        if unsaid:
            log.error("log lines were lost: they could not be written, or not fast enough", lines=unsaid)
