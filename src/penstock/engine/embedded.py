"""The embedded engine: llama.cpp's own server, in a process of its own.

    python -m penstock.engine.embedded --model guide|FILE.gguf|OWNER/NAME [--port 0] [--slots 4] [--context N] [--embedding] [--alias NAME]

Rules of the process:
- It listens on 127.0.0.1 and nowhere else; there is no option for another address, and no page in a browser may read it.
- When it can serve it prints one JSON line on stdout (`Ready`), and before it lines that say how far a download is, if there
  has to be one (`Download`). Nothing else ever: whatever llama.cpp prints goes to stderr.
- It lives as long as its stdin: whoever started it holds the other end, so it never outlives a parent that was killed.
  Run it by hand with a terminal or a pipe on stdin, not with /dev/null.
- SIGTERM and SIGINT end it with status 0. Status 2 means that starting it again cannot help: a wrong option or a model
  that cannot be loaded. The reason stands on stderr in one sentence.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

import xllamacpp  # type: ignore[import-untyped]

from penstock.engine.choice import chosen_file
from penstock.engine.gguf import Model, read_model
from penstock.engine.guide import GUIDE
from penstock.engine.hub_transfer import Progress
from penstock.errors import ConfigError

LOOPBACK = "127.0.0.1"
# Models of today claim contexts whose cache would not fit a small machine; more than this only when asked for.
CONTEXT = 4096
# llama.cpp answers each connection on a thread: one for every slot, and some for probes while all slots are busy.
SPARE_CONNECTIONS = 8
PROMPT_CACHE_MIB = 256
LONGEST_SILENCE = 900
WARNINGS = 2
USELESS_TO_RETRY = 2
PARENT_CHECK = 2.0
STOP_WITHIN = 5.0
TELL_EVERY = 0.5


@dataclass(frozen=True, slots=True)
class Settings:
    """What the command line asked for. `context` counts tokens of one slot; 0 leaves it to the model."""

    model: str
    alias: str
    port: int
    slots: int
    context: int
    embedding: bool
    threads: int


@dataclass(frozen=True, slots=True)
class Ready:
    """The one line on stdout."""

    port: int
    model: str
    file: str
    context: int
    trained_context: int
    embedding: bool
    slots: int
    pid: int


def parse(arguments: Sequence[str]) -> Settings:
    """The command line; argparse itself ends the process with status 2 when it is wrong."""
    parser = argparse.ArgumentParser(prog="penstock.engine.embedded", description="Serve one GGUF model on loopback.")
    parser.add_argument("--model", default=GUIDE, help="guide, the path of a GGUF file, or a name on the hub")
    parser.add_argument("--alias", default="", help="the name under which /v1/models lists it")
    parser.add_argument("--port", type=_bounded(0, 65535), default=0, help="0 takes a free one")
    parser.add_argument(
        "--slots",
        type=_bounded(1, 256),
        default=4,
        help="requests answered at the same time; always 1 with --embedding",
    )
    parser.add_argument("--context", type=_bounded(0, 2**24), default=0, help="tokens for each slot")
    parser.add_argument("--embedding", action="store_true", help="serve /v1/embeddings instead of text")
    # One: ggml's threads spin while they wait, and two on a busy two-core machine were hundreds of times slower.
    parser.add_argument("--threads", type=_bounded(1, 256), default=1, help="threads that compute")
    given = parser.parse_args(arguments)
    alias = given.alias or (GUIDE if given.model == GUIDE else Path(given.model).stem)
    # With more slots llama.cpp mixes up the vectors of texts that share a batch (ggml-org/llama.cpp#26282; seen here too).
    slots = 1 if given.embedding else given.slots
    return Settings(given.model, alias, given.port, slots, given.context, given.embedding, given.threads)


def _bounded(least: int, most: int) -> Callable[[str], int]:
    """For argparse: a whole number within two limits."""

    def number(text: str) -> int:
        value = int(text)
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{value} is not between {least} and {most}")
        return value

    return number


def slot_context(settings: Settings, model: Model) -> int:
    """Tokens of one slot: what was asked for, but never more than the model was trained on."""
    wanted = settings.context or CONTEXT
    return min(wanted, model.context) if model.context else wanted


def parameters(settings: Settings, file: Path, context: int) -> xllamacpp.CommonParams:
    """llama.cpp's own settings. Everything that could reach beyond this process' one job is off."""
    params = xllamacpp.CommonParams()
    params.model.path = str(file)
    params.model_alias = {settings.alias}
    params.hostnames = [LOOPBACK]
    params.port = settings.port
    params.n_parallel = settings.slots
    params.n_ctx = context * settings.slots
    params.kv_unified = False
    params.fit_params = False
    params.cpuparams.n_threads = settings.threads
    params.cpuparams_batch.n_threads = settings.threads
    params.n_threads_http = settings.slots + SPARE_CONNECTIONS
    params.cache_ram_mib = PROMPT_CACHE_MIB
    params.timeout_read = params.timeout_write = LONGEST_SILENCE
    params.use_jinja = True
    params.cont_batching = True
    params.endpoint_metrics = True
    params.endpoint_slots = params.endpoint_props = params.ui = False
    params.cors_origins = params.cors_headers = params.cors_methods = ""
    params.cors_credentials = False
    params.verbosity = WARNINGS
    if settings.embedding:
        params.embedding = True
        params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
        # A text to embed has to fit into one physical batch.
        params.n_batch = params.n_ubatch = context
    return params


@dataclass(slots=True)
class Download:
    """How far a download is, told in JSON lines on stdout, two a second at most."""

    model: str
    stdout: int
    gone: threading.Event
    """Set when nobody is left to tell."""
    told: float = 0.0

    def tell(self, here: int, whole: int) -> None:
        """One step."""
        if self.gone.is_set():
            raise SystemExit(0)
        now = time.monotonic()
        if now - self.told >= TELL_EVERY or here == whole:
            self.told = now
            line = json.dumps({"downloading": self.model, "here": here, "whole": whole})
            os.write(self.stdout, line.encode() + b"\n")


def start(settings: Settings, progress: Progress) -> tuple[xllamacpp.Server, Ready]:
    """Fetches the model if it has to be, loads it and serves it. Raises ConfigError when that cannot work."""
    file = chosen_file(settings.model, os.environ, progress)
    model = read_model(file)
    _refuse_busy(settings.port)
    context = slot_context(settings, model)
    try:
        server = xllamacpp.Server(parameters(settings, file, context))
    except RuntimeError as problem:
        raise ConfigError(
            f"Loading the model {file} (architecture {model.architecture}, {settings.slots} slots of {context} tokens): "
            "llama.cpp refused it, and its own words stand above.",
            hint="The file may be damaged, newer than this llama.cpp, or too large for this machine's memory.",
        ) from problem
    port = urlsplit(server.listening_address).port
    if port is None:
        raise ConfigError(
            f"Starting llama.cpp: it says that it listens on {server.listening_address!r}, without a port."
        )
    return server, Ready(
        port=port,
        model=settings.alias,
        file=str(file),
        context=context,
        trained_context=model.context,
        embedding=settings.embedding,
        slots=settings.slots,
        pid=os.getpid(),
    )


def _refuse_busy(port: int) -> None:
    """llama.cpp says the same of a busy port and of a broken model, so a fixed port is tried here first."""
    if port == 0:
        return
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as problem:
            raise ConfigError(
                f"Listening on {LOOPBACK}:{port}: {problem.strerror}.",
                hint="Choose another --port, or 0 for a free one.",
            ) from problem


def wait_for_parent() -> None:
    """Returns when stdin ends or the parent is gone; a parent's forked children may hold the pipe open after it died."""
    parent = os.getppid()
    while os.getppid() == parent:
        readable, _, _ = select.select([0], [], [], PARENT_CHECK)
        if readable and not os.read(0, 4096):
            return


def _watch_parent(gone: threading.Event) -> None:
    wait_for_parent()
    gone.set()


def _leave(_signal: int, _frame: object) -> NoReturn:
    _end_soon()
    raise SystemExit(0)


def _end_soon() -> None:
    """Ending llama.cpp waits for its running requests, and for its own start; whoever stops us does not."""
    deadline = threading.Timer(STOP_WITHIN, os._exit, (0,))
    deadline.daemon = True
    deadline.start()


def _take_stdout() -> int:
    """A private copy of stdout; from here on native code that prints to it reaches stderr."""
    ours = os.dup(1)
    os.dup2(2, 1)
    return ours


def main(arguments: Sequence[str] | None = None) -> int:
    """Serves until it is told to stop, and returns the exit status."""
    settings = parse(sys.argv[1:] if arguments is None else arguments)
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGINT, _leave)
    stdout = _take_stdout()
    gone = threading.Event()
    threading.Thread(target=_watch_parent, args=(gone,), name="parent", daemon=True).start()
    try:
        server, ready = start(settings, Download(settings.model, stdout, gone).tell)
    except ConfigError as problem:
        sys.stderr.write(f"{problem.sentence()}\n")
        return USELESS_TO_RETRY
    os.write(stdout, json.dumps(asdict(ready)).encode() + b"\n")
    # A signal that one of llama.cpp's threads took does not end this wait, so it is never a long one.
    while not gone.wait(PARENT_CHECK):
        pass
    _end_soon()
    del server
    return 0


if __name__ == "__main__":
    sys.exit(main())
