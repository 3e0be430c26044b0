"""What a client has of an answer, in the order in which it came, and how another telling of it is held against that.

Sans-I/O and without any protocol: an answer is a row of stretches of text, each of one kind ("content", "reasoning", the
arguments of a call). Whoever tells it again is heard in pieces of any size: what the client has is compared and left out,
what is new comes back. The first difference raises `Diverged`, before anything that follows it can go out.
"""

from __future__ import annotations

from penstock.errors import Diverged

LIMIT = 4 * 1024 * 1024
"""Characters remembered of one answer; one that passes it cannot be gone on with."""
CONTENT = "content"


class Delivered:
    """One answer so far."""

    __slots__ = ("_at", "_news", "_told", "_within", "heard", "kinds", "size")

    def __init__(self) -> None:
        self._told: list[tuple[str, str]] = []
        """What is compared with: stretches as (kind, text), neighbours of different kinds."""
        self._news: list[tuple[str, str]] = []
        """What came since, in pieces."""
        self._at = self._within = 0
        self.heard = 0
        """Characters of the answer that the engine now speaking has told, from the beginning of the answer."""
        self.size = 0
        """Characters the client has."""
        self.kinds: set[str] = set()

    @property
    def whole(self) -> bool:
        """Whether it is all remembered."""
        return self.size <= LIMIT

    @property
    def caught_up(self) -> bool:
        """Whether all that the client has was told again."""
        return self._at == len(self._told)

    @property
    def text(self) -> str:
        """All of it that is content."""
        return "".join(piece for kind, piece in (*self._told, *self._news) if kind == CONTENT)

    def take(self, kind: str, text: str) -> str:
        """Hear a piece; what of it is new to the client. `Diverged` where it is another text than the client has."""
        self.heard += len(text)
        while text and self._at < len(self._told):
            known, told = self._told[self._at]
            expected = told[self._within : self._within + len(text)]
            if kind != known or not text.startswith(expected):
                raise Diverged("It said something else than what had been sent before.")
            text = text[len(expected) :]
            self._within += len(expected)
            if self._within == len(told):
                self._at, self._within = self._at + 1, 0
        if text:
            self.size += len(text)
            self.kinds.add(kind)
            if self.whole:
                self._news.append((kind, text))
        return text

    def rewind(self, place: int) -> None:
        """Another engine tells it from this character on; anything but 0 only where all of it is one stretch."""
        stretches: list[tuple[str, list[str]]] = []
        for kind, piece in (*self._told, *self._news):
            if not stretches or stretches[-1][0] != kind:
                stretches.append((kind, []))
            stretches[-1][1].append(piece)
        self._told = [(kind, "".join(pieces)) for kind, pieces in stretches]
        self._news = []
        self.heard = place
        self._at, self._within = 0, place
        if self._told and place == len(self._told[0][1]):
            self._at, self._within = 1, 0
