"""The committed corpus: one file a target, one input a line, written so that people can read most of it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

FOLDER = Path(__file__).parent / "corpus"
LONGEST = 2000
"""Bytes of an input that is kept."""
MOST = 120
"""Inputs of one target that are kept."""


def read(target: str) -> list[bytes]:
    """The inputs of one target."""
    file = FOLDER / f"{target}.txt"
    lines = file.read_text(encoding="ascii").splitlines() if file.exists() else []
    return [line.encode("ascii").decode("unicode_escape").encode("latin-1") for line in lines]


def write(target: str, inputs: Iterable[bytes]) -> None:
    """Those that are short enough, the shortest first, without repetitions."""
    kept = sorted({one for one in inputs if len(one) <= LONGEST}, key=lambda one: (len(one), one))[:MOST]
    FOLDER.mkdir(exist_ok=True)
    lines = [one.decode("latin-1").encode("unicode_escape").decode("ascii") for one in kept]
    (FOLDER / f"{target}.txt").write_text("".join(f"{line}\n" for line in lines), encoding="ascii")
