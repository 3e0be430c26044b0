"""The tokens of an answer so far, and the places among them at which another engine can go on.

A place is a number of tokens together with the number of characters that these make. Only what is certain counts: the end
of a single token that brought text, because an engine sends no text as long as a character is incomplete. A prompt that
ends inside a character would make vLLM tell the whole prompt as its first text.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Sequence

import msgspec

from penstock.protocols.remainder import Stops

LIMIT = 262_144
"""Tokens remembered of one answer."""
PROMPT_LIMIT = 4 * 1024 * 1024
"""Bytes of a prompt's token ids, as JSON."""


class Place(msgspec.Struct, frozen=True):
    """Where to go on."""

    tokens: int
    characters: int


class Boundaries:
    """Of one answer."""

    __slots__ = ("_ids", "_places", "_stops", "known", "prompt", "prompt_tokens")

    def __init__(self, stops: Stops) -> None:
        self._stops = stops
        self._ids = array("q")
        self._places: deque[Place] = deque()
        self.prompt = b""
        """The prompt's token ids as the engine wrote them."""
        self.prompt_tokens: int | None = None
        self.known = True
        """Whether the engine told all ids so far."""

    @property
    def count(self) -> int:
        """Tokens so far."""
        return len(self._ids)

    def begin(self, prompt: bytes) -> None:
        """The prompt's ids have come."""
        self.prompt_tokens = prompt.count(b",") + 1 if prompt.strip(b"[] ") else 0
        if len(prompt) <= PROMPT_LIMIT:
            self.prompt = prompt

    def add(self, ids: Sequence[int] | None, heard: int, *, spoke: bool, delivered: int) -> None:
        """An event brought these tokens, after which `heard` characters are told; `spoke`: it brought some of them."""
        if ids is None:
            self.known = self.known and not spoke
            return
        if len(self._ids) + len(ids) > LIMIT:
            self.known = False
        if not self.known:
            return
        self._ids.extend(ids)
        if spoke and len(ids) == 1:
            self._places.append(Place(len(self._ids), heard + self._stops.held))
            while len(self._places) > 1 and self._places[1].characters <= delivered - self._stops.reach:
                self._places.popleft()

    def last(self, delivered: int) -> Place | None:
        """The last place all of whose text the client has; a stop string still to come begins behind it."""
        if not self.known or not self.prompt:
            return None
        fit = [place for place in self._places if place.characters <= delivered - self._stops.reach]
        return fit[-1] if fit else None

    def until(self, place: Place) -> Sequence[int]:
        """The answer's tokens before it."""
        return self._ids[: place.tokens]

    def rewind(self, place: Place | None) -> None:
        """Another engine tells what comes after it; None: everything."""
        del self._ids[place.tokens if place is not None else 0 :]
        self._places = deque([place] if place is not None else [])
        if place is None:
            self.known = True
