"""What one open, silent stream keeps in the gateway's memory, line by line: tracemalloc around it, a thousand streams, divided.

Only what Python allocates is seen, with tracemalloc's own rounding; `stream-memory` is the figure that counts.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

from bench import streams, traffic
from bench.build import Programs
from bench.peers import Launch, Peer, Site
from bench.processes import running
from bench.stage import LOAD_CPU, Runner, stage

REPOSITORY = Path(__file__).parent.parent
SNAPSHOT_SECONDS = 60.0


@dataclass(frozen=True)
class Place:
    where: str
    bytes: float
    objects: float


def places(peer: Peer, programs: Programs) -> list[Place]:
    """Places that hold memory for as long as a stream is open, the largest first; bytes and objects per stream."""
    with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        output = folder / "held"

        def launch(site: Site) -> Launch:
            options = peer.launch(site).argv[2:]
            command = (sys.executable, "-m", "bench.traced", str(output), "penstock.gateway", *options)
            return Launch(command, {"PYTHONPATH": str(REPOSITORY)})

        with stage(programs, [replace(peer, launch=launch)], folder) as on:
            runner = on.runners[0]
            log = folder / peer.name / "log"
            for warm_up in traffic.TRAFFIC[1:3]:
                traffic.window(on, runner, warm_up, 0, 0.5, 0)
            _snapshot(runner, log, 1)
            command = streams.holding(on, runner)
            with running(command, cpu=LOAD_CPU, log=folder / "hold.log", stdout=subprocess.PIPE) as load:
                opened = streams.opened(load)
                if not opened:
                    message = f"holding streams at {peer.name}: none opened"
                    raise SystemExit(message)
                _snapshot(runner, log, 2)
        return _per_stream(output.read_text(), opened)


def _snapshot(runner: Runner, log: Path, number: int) -> None:
    runner.process.send_signal(signal.SIGUSR2)
    deadline = time.monotonic() + SNAPSHOT_SECONDS
    while f"snapshot {number}" not in log.read_text():
        if time.monotonic() > deadline:
            message = f"tracing memory of {runner.peer.name}: no snapshot within {SNAPSHOT_SECONDS:.0f} s"
            raise SystemExit(message)
        time.sleep(0.2)


def _per_stream(text: str, opened: int) -> list[Place]:
    found = []
    for line in text.splitlines():
        size, count, where = line.split(" ", 2)
        path, _, number = where.rpartition(":")
        found.append(Place(f"{'/'.join(path.split('/')[-3:])}:{number}", int(size) / opened, int(count) / opened))
    return sorted(found, key=lambda one: one.bytes, reverse=True)
