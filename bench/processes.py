"""Start a process on one processor, wait until it answers, and end it: nothing outlives the block that started it."""

from __future__ import annotations

import http.client
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

READY_SECONDS = 120.0
STOP_SECONDS = 4.0
FILES_WANTED = 65_536


def pinned(argv: Sequence[str], cpu: int | None) -> list[str]:
    """The command, on one processor where the machine has more than one and `taskset` exists; None: on any."""
    if cpu is None or len(os.sched_getaffinity(0)) < 2 or shutil.which("taskset") is None:
        return list(argv)
    return ["taskset", "-c", str(cpu), *argv]


@contextmanager
def running(
    argv: Sequence[str],
    *,
    cpu: int | None,
    log: Path,
    environment: Mapping[str, str] | None = None,
    stdout: int | None = None,
) -> Iterator[subprocess.Popen[str]]:
    """The process in a session of its own, so that the end of the block ends its children too."""
    with log.open("w") as sink:
        process = subprocess.Popen(
            pinned(argv, cpu),
            stdin=subprocess.PIPE,
            stdout=sink if stdout is None else stdout,
            stderr=sink,
            text=True,
            cwd=log.parent,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        )
    try:
        yield process
    finally:
        stop(process)


def stop(process: subprocess.Popen[str]) -> None:
    """Ask, wait a little, then insist: a proxy that still holds a request nobody wants may drain for minutes."""
    for signal_number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is None or signal_number == signal.SIGKILL:
            _signal_session(process, signal_number)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            continue
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()


def _signal_session(process: subprocess.Popen[str], signal_number: signal.Signals) -> None:
    try:
        os.killpg(process.pid, signal_number)
    except ProcessLookupError:
        return  # all of it has ended


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until_it_answers(process: subprocess.Popen[str], port: int, body: bytes, log: Path, name: str) -> None:
    """Until one real request through the port gives 200; its log is the error message when that never happens."""
    deadline = time.monotonic() + READY_SECONDS
    answer = "nothing listened"
    while time.monotonic() < deadline and process.poll() is None:
        try:
            status, text = post(port, body)
        except (OSError, http.client.HTTPException) as error:
            answer = repr(error)
        else:
            if status == 200:
                return
            answer = f"{status} {text[:300]}"
        time.sleep(0.05)
    ended = f"ended with {process.poll()}" if process.poll() is not None else f"did not answer in {READY_SECONDS:.0f} s"
    message = f"starting {name}: it {ended}; last answer: {answer}\n{log.read_text()[-3000:]}"
    raise SystemExit(message)


def post(port: int, body: bytes, seconds: float = 5.0) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=seconds)
    try:
        connection.request("POST", "/v1/chat/completions", body, HEADERS)
        response = connection.getresponse()
        return response.status, response.read().decode(errors="replace")
    finally:
        connection.close()


# The same key as load.c sends, so that a gateway that checks keys does so in every scenario.
KEY = "sk-bench-key-for-measuring"
HEADERS = {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"}


def body(order: str, *, stream: bool, size: int = 2048) -> bytes:
    """A chat request of exactly `size` bytes; `order` is what the mock engine reads from the prompt, see engine.c."""

    def encoded(padding: str) -> bytes:
        messages = [
            {"role": "system", "content": "You answer questions about pumps, pipes and turbines."},
            {"role": "user", "content": f"{order} {padding}"},
        ]
        request: dict[str, object] = {"model": "mock", "messages": messages, "max_tokens": 128, "temperature": 0.7}
        return json.dumps(request | ({"stream": True} if stream else {})).encode()

    filler = "words of a question, " * (size // 20 + 1)
    return encoded(filler[: size - len(encoded(""))])


def raise_file_limit() -> None:
    """A thousand streams need two thousand sockets in the proxy; children inherit the limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES_WANTED if hard == resource.RLIM_INFINITY else min(hard, FILES_WANTED)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
