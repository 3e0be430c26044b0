"""Several gateway processes on the same addresses: started, watched, restarted and stopped together.

Each worker is a whole gateway process with its own sockets (SO_REUSEPORT); the kernel spreads connections over them.
What they share is the configuration file, the state database and each other's numbers (peers.py); slots, queues and
breakers are per worker. This process only watches.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from types import FrameType

import structlog

from penstock.config import Config
from penstock.gateway import exporting, listen, logs, tls
from penstock.gateway.peers import socket_path
from penstock.gateway.reload import Source
from penstock.gateway.server import REPLACED, Role, serve

log = structlog.stdlib.get_logger("penstock.workers")

POLL = 0.2
FIRST_REST = 0.5
LONGEST_REST = 30.0
STEADY = 60.0
UNUSABLE = 2
"""Exit status of a gateway process that cannot start as it is configured: starting it again changes nothing."""


def run(config: Config, *, source: Source, worker: int = -1, takeover: bool = False, announce: bool = False) -> int:
    """Serve with as many workers as the configuration says; blocks, returns the exit status."""
    tls.check(config)
    exporting.check(config.otel)
    if config.workers == 1 or worker >= 0:
        role = Role(worker=max(worker, 0), takeover=takeover, announce=announce and worker <= 0)
        status = serve(config, source=source, role=role)
        return status if worker >= 0 else 0
    logs.configure(config.log)
    if not takeover:
        # The workers share their ports with each other, so they would with anybody: who else is there is told once, here.
        for sock in listen.bind((*config.listen, *config.listen_metrics), takeover=False):
            sock.close()
    return _Watch(config, takeover=takeover).run()


class _Worker:
    def __init__(self, number: int, takeover: bool) -> None:  # noqa: FBT001 - one flag, passed on
        self.number = number
        self._rest = FIRST_REST
        self._due = 0.0
        self.began = time.monotonic()
        self._again = False
        self.process = self._start(takeover=takeover)

    def _start(self, *, takeover: bool = False, like: str = "") -> subprocess.Popen[bytes]:
        arguments = [argument for argument in sys.argv[1:] if argument != "--takeover"]
        # On a leash: a worker whose parent was killed drains and goes, instead of keeping the port for nobody.
        command = [
            *(sys.executable, "-m", "penstock.gateway.leash"),
            *_config_arguments(arguments),
            *("--worker", str(self.number)),
            *(["--takeover"] if takeover else []),
            *(["--like", like] if like else []),
        ]
        # A SIGHUP that comes before it can reload would end it. It reads the configuration later than that anyway.
        handler = signal.signal(signal.SIGHUP, signal.SIG_IGN)
        try:
            return subprocess.Popen(command, stdin=subprocess.PIPE)  # noqa: S603 - our own module
        finally:
            signal.signal(signal.SIGHUP, handler)

    @property
    def unusable(self) -> bool:
        """Whether its first start failed by what is configured; later the others serve on with what they have."""
        return not self._again and self.process.poll() == UNUSABLE

    @property
    def replaced(self) -> bool:
        """Whether it has given way to another process."""
        return self.process.poll() == REPLACED

    def look(self, now: float, sibling: str) -> None:
        """Start it again, after a pause, when it has died; as the one at this admin socket is, if there is one."""
        status = self.process.poll()
        if status is None:
            self._rest = FIRST_REST if now - self.began > STEADY else self._rest
            return
        if not self._due:
            log.error("worker died", worker=self.number, status=status, again_in=self._rest)
            self._due = now + self._rest
            self._rest = min(self._rest * 2, LONGEST_REST)
        elif now >= self._due:
            self._due = 0.0
            self._again = True
            self.began = now
            if self.process.stdin is not None:
                self.process.stdin.close()
            self.process = self._start(like=sibling)


def _config_arguments(arguments: list[str]) -> list[str]:
    for index, argument in enumerate(arguments):
        if argument == "--config" and index + 1 < len(arguments):
            return ["--config", arguments[index + 1]]
        if argument.startswith("--config="):
            return [argument]
    return []


class _Watch:
    def __init__(self, config: Config, *, takeover: bool) -> None:
        self._config = config
        self._takeover = takeover
        self._stopping = False
        self._workers: list[_Worker] = []

    def run(self) -> int:
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, self._stop)
        signal.signal(signal.SIGHUP, self._reload)
        self._workers = [_Worker(number, self._takeover) for number in range(self._config.workers)]
        while not self._stopping:
            time.sleep(POLL)
            if any(worker.unusable for worker in self._workers):
                self._end()
                return UNUSABLE
            if any(worker.replaced for worker in self._workers):
                log.info("replaced by another gateway")
                break
            for worker in self._workers:
                worker.look(time.monotonic(), self._sibling(worker))
        return self._end()

    def _stop(self, number: int, frame: FrameType | None) -> None:
        del frame
        if self._stopping and number == signal.SIGINT:
            # The second Ctrl-C: whoever pressed it does not want to wait for the drain.
            for worker in self._running():
                os.kill(worker.process.pid, number)
        self._stopping = True

    def _reload(self, number: int, frame: FrameType | None) -> None:
        """One worker reads the configuration, and tells the others."""
        del frame
        oldest = min(self._running(), key=lambda one: one.began, default=None)
        if oldest is not None:
            os.kill(oldest.process.pid, number)

    def _sibling(self, worker: _Worker) -> str:
        others = sorted((one for one in self._running() if one is not worker), key=lambda one: one.began)
        return socket_path(self._config.admin, others[0].number) if others else ""

    def _running(self) -> list[_Worker]:
        return [worker for worker in self._workers if worker.process.poll() is None]

    def _end(self) -> int:
        for worker in self._running():
            worker.process.terminate()
        deadline = time.monotonic() + self._config.limits.drain + 10
        for worker in self._workers:
            try:
                worker.process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                worker.process.kill()
        return 0
