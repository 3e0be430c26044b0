"""The real embedded engine with the bundled guide, for any test that wants real tokens.

Name the fixtures in a conftest: `from tests.engines_fixtures import guide_embedder, guide_engine`. One process serves the
whole session; it listens on a free loopback port and ends with the session, or with pytest if that is killed.
"""

from __future__ import annotations

import json
import selectors
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from models.guide.pairs import Pair, load_pairs

READY_WITHIN = 60.0


@dataclass(frozen=True, slots=True)
class Engine:
    """A running embedded engine."""

    url: str
    port: int
    model: str
    context: int
    process: subprocess.Popen[bytes]


@contextmanager
def embedded_engine(*options: str) -> Iterator[Engine]:
    """The engine of `python -m penstock.engine.embedded`, for as long as the block runs."""
    command = [sys.executable, "-P", "-m", "penstock.engine.embedded", *options]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        said = json.loads(first_line(process, READY_WITHIN))
        yield Engine(f"http://127.0.0.1:{said['port']}", said["port"], said["model"], said["context"], process)
    finally:
        process.terminate()
        process.communicate(timeout=READY_WITHIN)


def first_line(process: subprocess.Popen[bytes], within: float) -> bytes:
    """The first line on the stdout of a process; empty when it ended without one."""
    assert process.stdout is not None
    line, deadline = b"", time.monotonic() + within
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while not line.endswith(b"\n") and selector.select(deadline - time.monotonic()):
            piece = process.stdout.read1(4096)  # type: ignore[attr-defined]
            if not piece:
                break
            line += piece
    return line


@pytest.fixture(scope="session")
def guide_engine() -> Iterator[Engine]:
    """The guide, answering text on four slots."""
    with embedded_engine("--model", "guide") as engine:
        yield engine


@pytest.fixture(scope="session")
def guide_embedder() -> Iterator[Engine]:
    """The guide as an embedding model."""
    with embedded_engine("--model", "guide", "--embedding") as engine:
        yield engine


def guide_pairs(*groups: str) -> list[Pair]:
    """The questions and exact answers, of all groups or of the named ones."""
    return [pair for pair in load_pairs() if not groups or pair.group in groups]
