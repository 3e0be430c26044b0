"""Sentences of a document that claim something: not what it quotes, and not what it denies. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from penstock.rules.finding import Evidence
from penstock.rules.material import Document

_QUOTED = re.compile(r"\"[^\"]*\"|“[^”]*”|«[^»]*»|`[^`]*`")
_DENIED: Final = re.compile(
    r"(?i)\b(?:not|no|never|none|nobody|cannot|neither|nor|without|wrong|false|untrue|only|slow(?:er)?|instead|myth|claim(?:s|ed)?)\b|n['’]t\b"
)
LONGEST: Final = 40
"""Lines of one paragraph; what is longer is no prose."""
_BEGINS = re.compile(r"\s*(?:[-*+] |\d+[.)] |#+ |\||>)")
_END = re.compile(r"(?<=[.!?:;])\s+")


class Sentence(NamedTuple):
    """What it says, without emphasis and quotations, and the line on which it begins."""

    text: str
    at: Evidence


def sentences(document: Document) -> Iterator[Sentence]:
    """Sentences that stand for themselves: quoted and denied ones are left out."""
    for lines in _paragraphs(document):
        at, text = lines[0], " ".join(line.text for line in lines)
        if text.lstrip().startswith(">"):
            continue
        text = _QUOTED.sub(" ", text.replace("**", "").replace("__", ""))
        for sentence in _END.split(text) if len(lines) > 1 else [text]:
            if not _DENIED.search(sentence):
                yield Sentence(sentence, _line_of(sentence, lines, at))


def _paragraphs(document: Document) -> Iterator[list[Evidence]]:
    """Lines that follow each other; a list's item, a table's row and a title stand alone."""
    part: list[Evidence] = []
    for line in document.lines:
        if len(part) == LONGEST or (part and (line.line != part[-1].line + 1 or _BEGINS.match(line.text))):
            yield part
            part = []
        part.append(line)
    if part:
        yield part


def _line_of(sentence: str, lines: list[Evidence], first: Evidence) -> Evidence:
    """The line that holds the sentence's beginning."""
    begin = " ".join(sentence.split()[:3])
    return next((line for line in lines if begin and begin in line.text.replace("**", "")), first)
