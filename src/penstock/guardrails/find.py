"""Looks for a pattern in a text that comes in pieces, and replaces or refuses what it finds."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from penstock.config_guardrails import Side
from penstock.guardrails.text import Verdicts, stopped
from penstock.patterns import Pattern

Accept = Callable[[str], int]
"""How many characters of a find are one, from its beginning; 0 for none."""


class Detector(msgspec.Struct, frozen=True):
    """What is looked for."""

    name: str
    """As verdicts and replacements call it."""
    pattern: Pattern
    accept: Accept = len
    tail: frozenset[str] = frozenset()
    """Characters that belong to a find as long as they come, however many."""
    until: Pattern | None = None
    """What a find ends with; it may be as far away as it likes, and a text that lacks it ends inside."""


class Finder:
    """One detector over one text."""

    __slots__ = ("_at", "_detector", "_mode", "_refuses", "_side", "_text", "_verdicts")

    def __init__(self, detector: Detector, verdicts: Verdicts, side: Side, *, refuses: bool) -> None:
        self._detector = detector
        self._verdicts = verdicts
        self._side: Side = side
        self._refuses = refuses
        self._text = ""
        self._at = 0
        """Where what is undecided begins; before it stands one character that a pattern may look back at."""
        self._mode = _LOOK

    def feed(self, text: str) -> str:
        """What may go on."""
        self._text = self._text[max(self._at - 1, 0) :] + text
        self._at = min(self._at, 1)
        return self._go(last=False)

    def end(self) -> str:
        """The rest; afterwards it is as new."""
        found = self._go(last=True)
        self._text, self._at, self._mode = "", 0, _LOOK
        return found

    def _go(self, *, last: bool) -> str:
        parts: list[str] = []
        while self._mode(self, parts, last):
            pass
        return "".join(parts)

    def _look(self, parts: list[str], last: bool) -> bool:  # noqa: FBT001 - one of three modes with one face
        text, at, detector = self._text, self._at, self._detector
        until = len(text) if last else detector.pattern.decided(text, at)
        found = detector.pattern.search(text, at)
        if found is None or found[0] >= until:
            parts.append(text[at:until])
            self._at = max(at, until)
            return False
        self._verdicts.spend(self._side)
        begin, end = found
        taken = detector.accept(text[begin:end])
        if not taken:
            parts.append(text[at : begin + 1])
            self._at = begin + 1
            return True
        parts.append(text[at:begin])
        self._at = begin + taken
        if self._refuses:
            raise stopped(detector.name, self._side, self._verdicts)
        self._verdicts.note(detector.name, "redacted")
        parts.append(f"[redacted: {detector.name}]")
        self._mode = _TAIL if detector.tail else _UNTIL if detector.until is not None else _LOOK
        return True

    def _tail(self, parts: list[str], last: bool) -> bool:  # noqa: FBT001
        del parts, last
        text, tail = self._text, self._detector.tail
        while self._at < len(text) and text[self._at] in tail:
            self._at += 1
        if self._at == len(text):
            return False
        self._mode = _LOOK
        return True

    def _until(self, parts: list[str], last: bool) -> bool:  # noqa: FBT001
        del parts
        pattern = self._detector.until
        if pattern is None:
            return False
        text, at = self._text, self._at
        until = len(text) if last else pattern.decided(text, at)
        found = pattern.search(text, at)
        if found is None or found[0] >= until:
            self._at = max(at, until)
            return False
        self._at = found[1]
        self._mode = _LOOK
        return True


_LOOK, _TAIL, _UNTIL = Finder._look, Finder._tail, Finder._until  # noqa: SLF001 - the modes of the class above
