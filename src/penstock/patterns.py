"""Patterns that a person wrote, held against text that strangers wrote: RE2's, with a longest match that is known.

RE2 takes time in proportion to the text, whatever the pattern, so that nobody can make one slow. A pattern here has a
longest match besides, because a stream is held back by as much: `{1,64}` instead of `+`, and neither `^` nor `$`, for what
stands at the beginning of a piece is not known. Pure; nobody else imports re2.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import re2

LONGEST = 1024
"""Characters that one match may have."""
TEXT = 2000
"""Characters that one pattern may have."""
_CLASSES = frozenset("dDwWsS")
_OPEN = frozenset("DWS")
_EDGES = frozenset("bB")
_SPACES = frozenset("tnrfv")
_ANCHORS = "^$"
_TIMES = re.compile(r"\{([0-9]{1,4})(,([0-9]{0,4}))?\}")
_FLAGS = re.compile(r"\(\?([is]{1,2})\)")
_WORD = re.compile(r"[0-9A-Za-z]")


class Pattern:
    """One pattern, compiled."""

    __slots__ = ("_found", "_found_plain", "_run", "_run_plain", "longest", "shortest", "text")

    def __init__(self, text: str) -> None:
        """`ValueError` says what is wrong with it."""
        if not text or len(text) > TEXT:
            msg = f"a pattern has 1 to {TEXT} characters"
            raise ValueError(msg)
        flags = _FLAGS.match(text)
        reading = _Reading(text, flags.end() if flags is not None else 0)
        self.shortest, self.longest = reading.whole()
        if self.shortest == 0:
            raise ValueError("it also matches nothing at all; let it ask for one character at least")
        if self.longest > LONGEST:
            msg = f"its longest match has {self.longest} characters, and {LONGEST} are allowed"
            raise ValueError(msg)
        self.text = text
        self._found = _compiled(text)
        self._found_plain = _compiled(text.encode())
        head = flags.group() if flags is not None else ""
        letters = "".join(dict.fromkeys(reading.letters))
        run = f"{head}[{letters}]+\\z" if letters and not reading.anything else ""
        self._run = _compiled(run) if run else None
        self._run_plain = _compiled(run.encode()) if run else None

    def search(self, text: str, at: int) -> tuple[int, int] | None:
        """Where the first match from there on begins and ends."""
        # The library counts letters of a text one by one; of a plain one, bytes are letters.
        found = self._found_plain.search(text.encode(), at) if text.isascii() else self._found.search(text, at)
        return None if found is None else (found.start(), found.end())

    def decided(self, text: str, at: int) -> int:
        """How far it is certain whether a match begins, whatever comes behind this text."""
        far = len(text) - self.longest
        if self._run is None or self._run_plain is None:
            return max(at, far)
        begin = max(at, far)
        plain = text.isascii()
        run = self._run_plain.search(text[begin:].encode(), 0) if plain else self._run.search(text[begin:], 0)
        return begin + run.start() if run is not None else max(begin, len(text))


def _compiled(text: str | bytes) -> re2._Regexp:
    import re2  # noqa: PLC0415 - megabytes that a gateway without patterns does not need

    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(text, options)
    except re2.error as error:
        told = error.args[0] if error.args else ""
        raise ValueError(told.decode("utf-8", "replace") if isinstance(told, bytes) else str(told)) from None


class _Reading:
    """Reads a pattern for the lengths of its matches and for the letters that they are made of."""

    def __init__(self, text: str, at: int) -> None:
        self._text = text
        self._at = at
        self.letters: list[str] = []
        """Parts of a character class."""
        self.anything = False
        """Some part takes nearly every letter."""

    def whole(self) -> tuple[int, int]:
        """Shortest and longest."""
        found = self._either(0)
        if self._at < len(self._text):
            raise ValueError("a closing bracket too many")
        return found

    def _either(self, depth: int) -> tuple[int, int]:
        if depth > 32:
            raise ValueError("its brackets are nested too deeply")
        found = [self._row(depth)]
        while self._next() == "|":
            self._at += 1
            found.append(self._row(depth))
        return min(one[0] for one in found), max(one[1] for one in found)

    def _row(self, depth: int) -> tuple[int, int]:
        least = most = 0
        while (letter := self._next()) and letter not in "|)":
            one = self._one(letter, depth)
            times = self._times()
            least += one[0] * times[0]
            most += one[1] * times[1]
        return least, most

    def _next(self) -> str:
        return self._text[self._at : self._at + 1]

    def _one(self, letter: str, depth: int) -> tuple[int, int]:
        if letter in _ANCHORS:
            msg = f"{letter!r} speaks of where a text begins or ends, which is not known of a piece of one; use \\b"
            raise ValueError(msg)
        if letter in "*+?{":
            msg = f"nothing stands before {letter!r}"
            raise ValueError(msg)
        self._at += 1
        if letter == "(":
            return self._group(depth)
        if letter == "[":
            self._class()
        elif letter == "\\":
            return self._escape()
        elif letter == ".":
            self.anything = True
        else:
            self._say(letter)
        return 1, 1

    def _group(self, depth: int) -> tuple[int, int]:
        if self._text.startswith("?", self._at):
            if not self._text.startswith("?:", self._at):
                raise ValueError("of groups with ? only (?:…) is known, and (?i) at the very beginning")
            self._at += 2
        found = self._either(depth + 1)
        if self._next() != ")":
            raise ValueError("a closing bracket is missing")
        self._at += 1
        return found

    def _class(self) -> None:
        end = self._at + (1 if self._next() == "^" else 0)
        while end < len(self._text) and (self._text[end] != "]" or end == self._at):
            end += 2 if self._text[end] == "\\" else 1
        if end >= len(self._text):
            raise ValueError("a class [ lacks its ]")
        inner = self._text[self._at : end]
        self._at = end + 1
        if not inner or "[" in inner or "\\p" in inner or "\\P" in inner:
            raise ValueError("a class holds letters, ranges and \\d \\w \\s; write \\[ for the bracket itself")
        if inner.startswith("^") or any(f"\\{one}" in inner for one in _OPEN):
            self.anything = True
        else:
            # A dash at either end is itself, and would be a range once parts stand side by side.
            self.letters.append(_dashed(inner))

    def _escape(self) -> tuple[int, int]:
        letter = self._next()
        self._at += 1
        if letter in _EDGES:
            return 0, 0
        if letter in _OPEN:
            self.anything = True
        elif letter in _CLASSES or letter in _SPACES:
            self.letters.append(f"\\{letter}")
        elif not letter or _WORD.fullmatch(letter):
            msg = f"\\{letter} is not known here"
            raise ValueError(msg)
        else:
            self._say(letter)
        return 1, 1

    def _say(self, letter: str) -> None:
        self.letters.append(f"\\{letter}" if letter in "\\]^-[" else letter)

    def _times(self) -> tuple[int, int]:
        letter = self._next()
        if letter == "?":
            self._at += 1
            return 0, 1
        if letter in {"*", "+"}:
            msg = f"{letter!r} has no longest match; write how many at most, such as {{1,64}}"
            raise ValueError(msg)
        if letter != "{":
            return 1, 1
        found = _TIMES.match(self._text, self._at)
        if found is None or found.group(3) == "":
            raise ValueError("after a brace stand one or two numbers, such as {3} or {1,64}")
        self._at = found.end()
        least = int(found.group(1))
        return least, int(found.group(3) or least)


def _dashed(inner: str) -> str:
    begin, end = inner.startswith("-"), inner.endswith("-") and not inner.endswith("\\-")
    middle = inner[1 if begin else 0 : -1 if end and len(inner) > 1 else None]
    return ("\\-" if begin or end else "") + middle
