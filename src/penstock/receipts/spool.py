"""The lines in which a gateway says that a request goes to an engine, and how it ended; and how they are read again.

A file belongs to one process, which holds its lock: the kernel gives that back however the process ends, so a file whose
lock can be had will not grow any more. Lines are JSON arrays; whatever was torn is no such line, and is counted.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

import msgspec

SUFFIX = ".spool"


class Opened(msgspec.Struct, frozen=True, array_like=True, tag="o1", gc=False):
    """A request is about to go to an engine."""

    number: int
    """Of this file; a client may give one id to two requests."""
    id: str
    time: int
    """When it arrived, in microseconds since 1970."""
    tenant: str
    key: str
    caller: str
    alias: str
    path: str
    stream: bool
    target: int
    backend: str
    model: str
    digest: str | None
    prompt: str | None
    """SHA-256 of the request's body, where that was quickly made."""


class Closed(msgspec.Struct, array_like=True, tag="c1", gc=False):
    """How it ended. Says everything again, because a request that no engine was asked for has no other line."""

    number: int
    id: str
    time: int
    tenant: str
    key: str
    caller: str
    alias: str
    path: str
    stream: bool
    status: int
    outcome: str
    error: str | None = None
    target: int = -1
    backend: str = ""
    model: str = ""
    digest: str | None = None
    attempts: int = 0
    finish: str = ""
    prompt: str | None = None
    answer: str | None = None
    usage: tuple[int, int] | None = None
    """Prompt and completion tokens."""
    sent: int | None = None
    """This and what follows: microseconds since it arrived."""
    first: int | None = None
    queued: int = 0
    total: int | None = None
    fallback: tuple[tuple[str, str], ...] = ()
    verdicts: tuple[tuple[str, str], ...] = ()
    tools: tuple[tuple[str, str], ...] = ()
    """Name, and SHA-256 of the arguments."""
    adapter: str | None = None
    bodies: tuple[str, str] | None = None
    """Request and answer in base64, sealed or plain."""


Line = Opened | Closed
encode = msgspec.json.Encoder().encode
_decoder: msgspec.json.Decoder[Line] = msgspec.json.Decoder(Line)


def read(line: bytes) -> Line | None:
    """None for what is no whole line."""
    try:
        return _decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def waiting(place: Path) -> list[Path]:
    """The spool files of a folder, oldest first."""
    with contextlib.suppress(FileNotFoundError):
        return sorted(one for one in place.iterdir() if one.suffix == SUFFIX and one.is_file())
    return []


def abandoned(number: int) -> bool:
    """Whether nobody writes into this open file any more."""
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    fcntl.flock(number, fcntl.LOCK_UN)
    return True


def create(place: Path, name: str) -> int:
    """A new spool file, locked before anybody can see it; its number. Raises `OSError`."""
    hidden = place / f".{name}"
    number = os.open(hidden, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(number, fcntl.LOCK_EX)
        hidden.rename(place / f"{name}{SUFFIX}")
    except OSError:
        os.close(number)
        hidden.unlink(missing_ok=True)
        raise
    return number
