"""Real vLLM servers as processes: start, wait until a model can be asked, kill, start again.

Each server is the leader of a process group of its own (vLLM runs three processes), and only that group is ever signalled. The group
ends with the tests, also when those are killed. What the engine prints goes to a file, whose end is part of every error.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
VENV = ROOT / os.environ.get("PENSTOCK_VLLM_VENV", ".venv-vllm")
LLAMA = "meta-llama/Meta-Llama-3.1-8B-Instruct"
GUIDE = "guide"
EMBED = "penstock/guide-embed"

READY_WITHIN = 240.0
STOP_WITHIN = 20.0
LOOK_EVERY = 0.25
LOG_TAIL = 6000

# Nothing is fetched or reported; no compiler is run; one thread, and the kernel decides on which core it runs: vLLM would bind the
# workers of two servers to the same core.
ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "TORCH_COMPILE_DISABLE": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "OMP_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "NO_COLOR": "1",
}
# Becomes its arguments, and leaves a watcher in the process group that ends the group once nobody holds the pipe to it any more.
WATCHED = 'exec 3<&0 </dev/null; (read -r _ <&3; kill -KILL 0) & exec 3<&-; exec "$@"'
COMMON = ("--dtype", "float32", "--enforce-eager")


class EngineDidNotStart(RuntimeError):
    """The server ended or was not ready in time; the message holds the end of its log."""


@dataclass(frozen=True)
class Launch:
    """What to serve and how; the port and the place for logs and caches come with the server."""

    model: Path
    names: tuple[str, ...]
    arguments: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)


class VllmServer:
    """One `vllm serve` on a port of its own. The port stays the same through `kill` and `start`."""

    def __init__(self, launch: Launch, folder: Path) -> None:
        self.launch = launch
        self.port = free_port()
        self.log = folder / "vllm.log"
        self.started_in = 0.0
        self._cache = folder / "cache"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def names(self) -> tuple[str, ...]:
        """What to ask for; vLLM calls the model by the first in every answer."""
        return self.launch.names

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Return once `/v1/models` lists the model; calling it on a running server does nothing."""
        if self.running:
            return
        begin = time.monotonic()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", WATCHED, "sh", VENV / "bin/vllm", "serve", self.launch.model, *self._flags()],
                env={**os.environ, **ENVIRONMENT, "VLLM_CACHE_ROOT": str(self._cache), **self.launch.environment},
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.log.parent,
                start_new_session=True,
            )
        try:
            self._wait_until_ready(begin + READY_WITHIN)
        except EngineDidNotStart:
            self.kill()
            raise
        self.started_in = time.monotonic() - begin

    def kill(self) -> None:
        """End all processes of the server at once, as a machine that dies would; connections are reset."""
        self._signal(signal.SIGKILL)
        self._reap(STOP_WITHIN)
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
        self._process = None

    def stop(self) -> None:
        """Ask the server to end, and kill what is left of it."""
        self._signal(signal.SIGTERM)
        try:
            self._reap(STOP_WITHIN)
        finally:
            self.kill()

    @contextlib.contextmanager
    def standing_still(self) -> Iterator[None]:
        """None of its processes runs meanwhile; the kernel still takes connections and bytes for it."""
        self._signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._signal(signal.SIGCONT)

    def log_tail(self) -> str:
        return self.log.read_bytes()[-LOG_TAIL:].decode(errors="replace") if self.log.exists() else "(no log)"

    def _flags(self) -> list[str]:
        where = ["--host", "127.0.0.1", "--port", str(self.port)]
        return [*where, "--served-model-name", *self.launch.names, *COMMON, *self.launch.arguments]

    def _wait_until_ready(self, deadline: float) -> None:
        assert self._process is not None
        while time.monotonic() < deadline:
            if self.names[0] in served_models(self.port):
                return
            try:
                status = self._process.wait(timeout=LOOK_EVERY)
            except subprocess.TimeoutExpired:
                continue
            raise EngineDidNotStart(f"vllm serve ended with status {status}; the end of {self.log}:\n{self.log_tail()}")
        raise EngineDidNotStart(
            f"vllm serve did not list {self.names[0]} at {self.url}/v1/models within {READY_WITHIN:.0f} s; "
            f"the end of {self.log}:\n{self.log_tail()}"
        )

    def _signal(self, number: signal.Signals) -> None:
        """To the whole group: its leader may be gone while its children live."""
        if self._process is None:
            return
        try:
            os.killpg(self._process.pid, number)
        except ProcessLookupError:
            return

    def _reap(self, within: float) -> None:
        if self._process is None:
            return
        try:
            self._process.wait(timeout=within)
        except subprocess.TimeoutExpired:
            return


def served_models(port: int) -> list[str]:
    """The ids that `/v1/models` lists; none as long as nobody answers there."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/v1/models")
        response = connection.getresponse()
        body = response.read()
    except (OSError, http.client.HTTPException):
        return []
    finally:
        connection.close()
    return [entry["id"] for entry in json.loads(body)["data"]] if response.status == 200 else []


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
