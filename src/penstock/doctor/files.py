"""Files and folders as material for the rules. The only place of the doctor's that reads a disk; it writes nothing."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from penstock.errors import ConfigError
from penstock.rules.material import Material, joined
from penstock.rules.read import kind_of, read
from penstock.rules.reading.text import Unreadable

LARGEST: Final = 2**20
"""Bytes of a file that is read; a configuration or a module of source is far smaller."""
MOST: Final = 5000
"""Files of one run."""
SKIPPED: Final = frozenset(
    {"node_modules", "__pycache__", "site-packages", "dist-packages", "build", "dist", "venv", "target", "vendor"}
)


class Gathered(msgspec.Struct, frozen=True):
    """What was read, and what was not."""

    material: Material
    read: tuple[str, ...]
    notes: tuple[str, ...]
    """One sentence for each file that a person would expect to have been read."""


def gather(paths: Iterable[Path]) -> Gathered:
    """Everything under these files and folders that some rule looks at.

    ConfigError for a path that is not there, and for a named file whose kind is unknown.
    """
    parts: list[Material] = []
    done: list[str] = []
    notes: list[str] = []
    for path in _files(paths):
        if len(done) == MOST:
            notes.append(f"only the first {MOST} files were read: name the folders that matter")
            break
        try:
            parts.append(read(_shown(path), _text(path)))
            done.append(_shown(path))
        except Unreadable as reason:
            notes.append(f"not read: {reason}")
    return Gathered(joined(parts), tuple(done), tuple(notes))


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    seen: set[Path] = set()
    for path in paths:
        for file in _under(path):
            if file not in seen:
                seen.add(file)
                yield file


def _under(path: Path) -> Iterator[Path]:
    if path.is_dir():
        yield from _walked(path)
    elif not path.exists():
        raise ConfigError(
            f"Reading {path}: there is no such file or folder.",
            hint="Name files, folders, or URLs that begin with http://.",
        )
    elif not _kind(path):
        raise ConfigError(
            f"Reading {path}: its name does not say what it is.",
            hint="The doctor reads YAML, Dockerfiles, shell scripts, env files, requirements, Python and documents.",
        )
    else:
        yield path


def _walked(folder: Path) -> Iterator[Path]:
    """Files in order; hidden folders and other people's packages are left out, links to folders are not followed."""
    for where, folders, files in os.walk(folder):
        here = Path(where)
        folders[:] = sorted(
            name
            for name in folders
            if name not in SKIPPED and not name.startswith(".") and not (here / name / "pyvenv.cfg").exists()
        )
        yield from (here / name for name in sorted(files) if (here / name).is_file() and _kind(here / name))


def _kind(path: Path) -> str:
    """By its name; the first line is looked at only where the name has no extension."""
    begin = ""
    if "." not in path.name:
        try:
            with path.open("rb") as file:
                begin = file.read(200).decode("utf-8", "replace")
        except OSError:
            begin = ""  # said when it is read, if its name says that it should be
    return kind_of(path.name, begin)


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(LARGEST + 1)
    except OSError as broken:
        raise Unreadable(f"{path}: {broken.strerror}") from None
    if len(raw) > LARGEST:
        raise Unreadable(f"{path}: larger than {LARGEST} bytes")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Unreadable(f"{path}: not UTF-8 text") from None


def _shown(path: Path) -> str:
    """The path as it was given, with `/` between folders."""
    return path.as_posix()
