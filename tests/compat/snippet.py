"""A document's own code, word for word, as it runs in an application of ours: frames, edits and their diff.

The files under snippets/ are the documents' fenced blocks without a change. A frame is what the document leaves out
around a block: imports and the class it stands in. An edit replaces whole lines; a test shows all of them.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from textwrap import indent

SNIPPETS = Path(__file__).parent / "snippets"


def snippet(name: str) -> str:
    """`tactical/client` and the like."""
    return (SNIPPETS / f"{name}.txt").read_text(encoding="utf-8")


def framed(frame: str, block: str, *, depth: int = 0) -> str:
    """The block in the place of the frame's `...` line, indented."""
    return frame.replace(f"{' ' * depth}...\n", indent(block, " " * depth))


def edited(source: str, lines: dict[str, str]) -> str:
    """The source with these lines replaced; each must be there."""
    written = source.splitlines()
    for before, after in lines.items():
        written[written.index(before)] = after
    return "\n".join(written) + "\n"


def diff(before: str, after: str) -> list[str]:
    """The lines that went and came, as `-…` and `+…`."""
    told = difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=0)
    return [line for line in told if not line.startswith(("---", "+++", "@@"))]
