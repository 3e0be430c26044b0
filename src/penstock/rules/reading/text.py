"""One file's text with its name: whoever reads it makes evidence out of line numbers here."""

from __future__ import annotations

from penstock.rules.finding import Evidence, evidence


class Unreadable(Exception):
    """A file that is not what its name says; the message holds the line and the reason."""


class Text:
    """The lines of a file, or of a piece of one (`whole` is the file then), counted as in that file."""

    def __init__(self, name: str, text: str, first: int = 1, *, whole: Text | None = None) -> None:
        self.whole = whole
        self.name = name
        self.text = text
        self.first = first
        self.lines = text.splitlines()
        self._made: dict[int, Evidence] = {}

    def at(self, line: int) -> Evidence:
        """A line by its number in the file, as it stands there."""
        if self.whole is not None:
            return self.whole.at(line)
        if line not in self._made:
            index = line - self.first
            self._made[line] = evidence(self.name, line, self.lines[index] if 0 <= index < len(self.lines) else "")
        return self._made[line]

    @property
    def base(self) -> str:
        """The file's name without its folder."""
        return self.name.rpartition("/")[2]
