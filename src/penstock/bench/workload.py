"""The prompts that are asked, read from a file: lines of text, JSON lines, or a JSON array in ShareGPT's shape.

A line that cannot be used is named by its number; nothing is guessed. The file is read whole, so its size has a bound.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from penstock.errors import ConfigError

LIMIT: Final = 256 * 2**20
NAMED: Final = 10
"""How many bad lines an error names; the rest are counted."""


class Message(msgspec.Struct, frozen=True):
    """One turn of a conversation."""

    role: str
    content: str


class Prompt(msgspec.Struct, frozen=True):
    """One request's messages and the line they stood on."""

    line: int
    messages: tuple[Message, ...]


class Workload(msgspec.Struct, frozen=True):
    """What is asked, and what of the file could not be used."""

    name: str
    digest: str
    """`sha256:` and the digest of the file, so that two reports can be told to be about the same prompts."""
    prompts: tuple[Prompt, ...]
    faults: tuple[str, ...] = ()
    """`line 3: …` for every line that was left out."""


class _Turn(msgspec.Struct):
    from_: str = msgspec.field(name="from", default="")
    value: str = ""


class _Line(msgspec.Struct):
    """The members that are read; others are other people's business."""

    prompt: str | None = None
    messages: tuple[Message, ...] | None = None
    conversations: list[_Turn] | None = None


def read_workload(path: Path, *, keep_going: bool = False) -> Workload:
    """Every prompt of a file; a `ConfigError` names its bad lines, unless they are to be left out."""
    raw = _content(path)
    parse = _array if _is_array(raw) else _json_lines if _is_json_lines(path, raw) else _text_lines
    prompts: list[Prompt] = []
    faults: list[str] = []
    for place, found in parse(raw, path):
        if isinstance(found, Prompt):
            prompts.append(found)
        else:
            faults.append(f"{place}: {found}")
    if faults and not keep_going:
        raise ConfigError(
            f"Reading {path}: {_named(faults)}.", hint="Mend the file, or leave such lines out with --keep-going."
        )
    if not prompts:
        reason = f": {_named(faults)}" if faults else ""
        raise ConfigError(
            f"Reading {path}: no prompt in it{reason}.",
            hint="One prompt a line, or JSON lines with prompt or messages.",
        )
    return Workload(path.name, f"sha256:{hashlib.sha256(raw).hexdigest()}", tuple(prompts), tuple(faults))


def _content(path: Path) -> bytes:
    try:
        if path.stat().st_size > LIMIT:
            raise ConfigError(f"Reading {path}: it passes {LIMIT >> 20} MiB.", hint="Take a part of it.")
        return path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    except OSError as error:
        raise ConfigError(
            f"Reading {path}: {(error.strerror or str(error)).lower()}.", hint="Name a file of prompts."
        ) from None


def _is_array(raw: bytes) -> bool:
    return raw[:4096].lstrip().startswith((b"[{", b"[\n", b"[\r", b"[ "))


def _is_json_lines(path: Path, raw: bytes) -> bool:
    return path.suffix in {".jsonl", ".ndjson", ".json"} or raw.lstrip().startswith(b"{")


Found = Iterator[tuple[str, "Prompt | str"]]
"""`line 3` or `entry 3`, and the prompt or what is wrong there."""


def _text_lines(raw: bytes, path: Path) -> Found:
    del path
    for number, line in _lines(raw):
        try:
            text = line.decode().strip()
        except UnicodeDecodeError:
            yield f"line {number}", "not UTF-8"
            continue
        if text:
            yield f"line {number}", Prompt(number, (Message("user", text),))


def _json_lines(raw: bytes, path: Path) -> Found:
    del path
    for number, line in _lines(raw):
        yield f"line {number}", _told(number, lambda line=line: msgspec.json.decode(line, type=_Line))  # type: ignore[misc]


def _array(raw: bytes, path: Path) -> Found:
    try:
        entries = msgspec.json.decode(raw, type=list[msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"Reading {path}: not JSON ({error}).", hint="An array of objects, or one object a line."
        ) from None
    for number, entry in enumerate(entries, 1):
        yield f"entry {number}", _told(number, lambda entry=entry: msgspec.json.decode(entry, type=_Line))  # type: ignore[misc]


def _lines(raw: bytes) -> Iterator[tuple[int, bytes]]:
    for number, line in enumerate(raw.split(b"\n"), 1):
        if line.strip():
            yield number, line


def _told(number: int, decode: Callable[[], _Line]) -> Prompt | str:
    """The prompt of one object, or what is wrong with it."""
    try:
        line = decode()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return str(error)
    if line.messages is not None:
        messages = line.messages
    elif line.prompt is not None:
        messages = (Message("user", line.prompt),)
    elif line.conversations is not None:
        # ShareGPT: what the first person said; the answers in it are another model's.
        said = next((turn.value for turn in line.conversations if turn.from_ in {"human", "user"}), "")
        messages = (Message("user", said),)
    else:
        return "an object with prompt, messages or conversations is expected"
    if not messages or not all(message.role and message.content.strip() for message in messages):
        return "an empty prompt"
    return Prompt(number, messages)


def _named(faults: list[str]) -> str:
    more = f", and {len(faults) - NAMED} more" if len(faults) > NAMED else ""
    return "; ".join(faults[:NAMED]) + more
