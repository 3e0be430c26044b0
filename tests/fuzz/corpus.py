"""The committed corpus: one file a target, one input a line, written so that people can read most of it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

FOLDER = Path(__file__).parent / "corpus"
LONGEST = 600
"""Bytes of an input that is kept."""
MOST = 160
"""Inputs of one target that are kept."""


def read(target: str) -> list[bytes]:
    """The inputs of one target."""
    file = FOLDER / f"{target}.txt"
    lines = file.read_text(encoding="ascii").splitlines() if file.exists() else []
    return [line.encode("ascii").decode("unicode_escape").encode("latin-1") for line in lines]


def write(target: str, found: Iterable[bytes]) -> None:
    """Beside those that are there: the shortest of what was found, while there is room."""
    known = read(target)
    new = sorted({one for one in found if len(one) <= LONGEST} - set(known), key=lambda one: (len(one), one))
    kept = sorted({*known, *new[: max(0, MOST - len(known))]}, key=lambda one: (len(one), one))
    FOLDER.mkdir(exist_ok=True)
    lines = [one.decode("latin-1").encode("unicode_escape").decode("ascii") for one in kept]
    (FOLDER / f"{target}.txt").write_text("".join(f"{line}\n" for line in lines), encoding="ascii")
