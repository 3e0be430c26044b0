"""Documents: their prose, and their blocks of code as the files they stand for. Pure."""

from __future__ import annotations

import re
from typing import NamedTuple

from penstock.rules.material import Document
from penstock.rules.reading.text import Text

_FENCE = re.compile(r"^(\s*)(`{3,}|~{3,})\s*([\w+.-]*)")
_PROMPT = re.compile(r"^(\s*)[$#>]\s", re.MULTILINE)
CONSOLE = frozenset({"console", "shell-session", "terminal"})


class Block(NamedTuple):
    """One fenced block: its language in lower case, its text and the number of its first line."""

    language: str
    text: str
    first: int


def parts(text: Text) -> tuple[Document, tuple[Block, ...]]:
    """The prose and the blocks."""
    prose, blocks, inside = [], [], list[str]()
    fence = language = ""
    first = indent = 0
    for number, line in enumerate(text.lines, text.first):
        mark = _FENCE.match(line)
        if fence:
            if mark and mark[2].startswith(fence) and not mark[3]:
                blocks.append(_block(language, inside, first, indent))
                fence, inside = "", []
            else:
                inside.append(line)
        elif mark:
            indent, fence, language, first = len(mark[1]), mark[2], mark[3].lower(), number + 1
        elif line.strip():
            prose.append(text.at(number))
    if fence:
        blocks.append(_block(language, inside, first, indent))
    return Document(name=text.name, lines=tuple(prose)), tuple(blocks)


def _block(language: str, lines: list[str], first: int, indent: int) -> Block:
    text = "\n".join(line[indent:] if not line[:indent].strip() else line for line in lines)
    if language in CONSOLE:
        commands = [line if _PROMPT.match(line) else "" for line in text.split("\n")]
        return Block("sh", "\n".join(_PROMPT.sub("", line) for line in commands), first)
    return Block(language, text, first)
