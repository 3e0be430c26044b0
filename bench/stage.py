"""One mock engine and the peers in front of it, all running, with a real answer seen through each."""

from __future__ import annotations

import os
import select
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import measure
from bench.build import Programs
from bench.peers import DIRECT, Peer, Site
from bench.processes import body, free_port, running, wait_until_it_answers

PROXY_CPU = 0
LOAD_CPU = 1


class Trace:
    """The lines the engine prints about traced requests: `start ID NS`, `abort ID NS`."""

    def __init__(self, engine: subprocess.Popen[str]) -> None:
        assert engine.stdout is not None  # noqa: S101 - it was started with a pipe, in this file
        self._pipe = engine.stdout.fileno()
        self._unread = b""

    def wait(self, word: str, number: int | None, seconds: float) -> tuple[int, int] | None:
        """The next line of that word (and request number, where given) as (number, ns); None when it does not come."""
        deadline = time.monotonic() + seconds
        while True:
            line, found, rest = self._unread.partition(b"\n")
            if found:
                self._unread = rest
                said, which, when = line.decode().split()
                if said == word and number in {None, int(which)}:
                    return int(which), int(when)
                continue  # an earlier request, abandoned late
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._pipe], [], [], left)[0]:
                return None
            self._unread += os.read(self._pipe, 65_536)


@dataclass(frozen=True)
class Runner:
    """A peer that runs: where it listens and which processes it is made of."""

    peer: Peer
    port: int
    process: subprocess.Popen[str]

    @property
    def pids(self) -> tuple[int, ...]:
        return measure.tree(self.process.pid)


@dataclass(frozen=True)
class Stage:
    programs: Programs
    directory: Path
    trace: Trace
    direct: Runner
    """The engine itself, with nothing in front of it."""
    runners: tuple[Runner, ...]

    def request(self, order: str, *, stream: bool, size: int = 2048) -> Path:
        """A file with the request body for that order; the load generator reads it from there."""
        content = body(order, stream=stream, size=size)
        path = self.directory / f"body-{abs(hash(content)):x}.json"
        path.write_bytes(content)
        return path


@contextmanager
def stage(programs: Programs, peers: Sequence[Peer], directory: Path) -> Iterator[Stage]:
    with ExitStack() as stack:
        engine_port = free_port()
        engine = stack.enter_context(
            running(
                [str(programs.engine), str(engine_port)],
                cpu=LOAD_CPU,
                log=directory / "engine.log",
                stdout=subprocess.PIPE,
            )
        )
        runners = [stack.enter_context(_runner(peer, directory, engine_port)) for peer in peers]
        yield Stage(programs, directory, Trace(engine), Runner(DIRECT, engine_port, engine), tuple(runners))


@contextmanager
def _runner(peer: Peer, directory: Path, engine_port: int) -> Iterator[Runner]:
    place = directory / peer.name.replace(" ", "-")
    place.mkdir(exist_ok=True)
    site = Site(place, free_port(), engine_port)
    launch = peer.launch(site)
    log = place / "log"
    cpu = PROXY_CPU if peer.pinned else None
    with running(launch.argv, cpu=cpu, log=log, environment=launch.environment) as process:
        wait_until_it_answers(process, site.port, body("", stream=False), log, peer.name)
        yield Runner(peer, site.port, process)
