"""Requirements files of pip, line by line. Pure."""

from __future__ import annotations

from penstock.rules.material import Requirement
from penstock.rules.reading.text import Text


def requirements(text: Text) -> tuple[Requirement, ...]:
    found = []
    for index, raw in enumerate(text.lines):
        line = raw.partition(" #")[0].strip().rstrip("\\").strip()
        if line and not line.startswith(("#", "-")):
            found.append(Requirement(text=line, at=text.at(text.first + index)))
    return tuple(found)
