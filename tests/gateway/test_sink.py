"""The log's writer: nobody waits for it, and what it could not write is counted and said."""

from __future__ import annotations

import json
import subprocess
import sys
import threading

from penstock.gateway.sink import BYTES, Sink

LIMIT = 20.0


class Slow:
    """A pipe that takes nothing until it is let go, and says when somebody tries."""

    def __init__(self) -> None:
        self.tried = threading.Event()
        self.go = threading.Event()
        self.taken = b""

    def write(self, data: bytes) -> int:
        self.tried.set()
        assert self.go.wait(LIMIT)
        self.taken += data
        return len(data)


class Full:
    """A disk with room for a few bytes, then for none, then for all."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.failed = threading.Event()
        self.taken = b""

    def write(self, data: bytes) -> int:
        if not self.room:
            self.failed.set()
            raise OSError(28, "No space left on device")
        size = min(self.room, len(data))
        self.room -= size
        self.taken += data[:size]
        return size


class Busy:
    """A pipe that somebody made non-blocking."""

    def __init__(self) -> None:
        self.full = 3
        self.taken = b""

    def write(self, data: bytes) -> int | None:
        if self.full:
            self.full -= 1
            return None
        self.taken += data[:5]
        return len(data[:5])


def test_who_logs_never_waits_and_what_does_not_fit_is_counted() -> None:
    out = Slow()
    sink = Sink(out)
    sink.start()
    sink.say(b"first")
    assert out.tried.wait(LIMIT)
    line = b"x" * 1023
    for _ in range(BYTES // 1024 + 7):
        sink.say(line)
    assert sink.lost == 7
    out.go.set()
    sink.close()
    assert out.taken == b"first\n" + (line + b"\n") * (BYTES // 1024)


def test_a_full_disk_does_not_end_the_log_and_a_torn_line_ends() -> None:
    out = Full(room=10)
    sink = Sink(out)
    sink.start()
    sink.say(b"whole\ntorn in the middle\nlost", 3)
    assert out.failed.wait(LIMIT)
    out.room = 1000
    sink.say(b"later")
    sink.close()
    assert out.taken == b"whole\ntorn\nlater\n"
    assert sink.lost == 2


def test_a_pipe_that_is_not_blocking_gets_everything() -> None:
    out = Busy()
    sink = Sink(out)
    sink.start()
    sink.say(b"one line\nanother line", 2)
    sink.close()
    assert out.taken == b"one line\nanother line\n"


PROGRAM = """
import structlog
from penstock.config import Log
from penstock.gateway import logs
sink = logs.configure(Log(format="json", level="info"))
sink.lose(3)
structlog.stdlib.get_logger("penstock.server").info("draining")
"""


def test_what_was_lost_is_said_once_writing_works_again() -> None:
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["event"].partition(":")[0] for line in lines] == ["draining", "log lines were lost"]
    assert lines[1]["lines"] == 3


STALLED = """
import os, structlog
from penstock.config import Log
from penstock.gateway import logs
logs.configure(Log(format="json", level="info"))
log = structlog.stdlib.get_logger("penstock.server")
for _ in range(3000):
    log.info("x" * 1000)
os.write(1, b"not held up")
"""


def test_a_pipe_that_nobody_reads_does_not_keep_the_process_from_ending() -> None:
    with subprocess.Popen([sys.executable, "-c", STALLED], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.read() == b"not held up"
        assert process.wait(LIMIT) == 0
