"""What the readers of answers have in common: the facts they keep for the line, and the collecting of a whole answer.

What an answer means stands with each protocol. Nothing here decodes.
"""

from __future__ import annotations

from penstock.errors import PenstockError
from penstock.protocols import refusal
from penstock.protocols.dialect import Clock, Timing
from penstock.types import Face, Usage


class Noted:
    """What a reader tells the line of its answer, as `dialect.Reader` has it."""

    __slots__ = ("_clock", "_timing", "answer_id", "content", "finish_reason", "finished", "model", "usage")

    def __init__(self, timing: Timing, clock: Clock) -> None:
        self._timing = timing
        self._clock = clock
        self.usage: Usage | None = None
        self.model: str | None = None
        self.answer_id: str | None = None
        self.content = False
        self.finished = False
        self.finish_reason: str | None = None

    def _stamp(self) -> None:
        """Something of the answer itself has come."""
        now = self._clock()
        self._timing.first = self._timing.first or now
        self._timing.last = now
        self.content = True


class Collecting:
    """A reader that takes an answer whole: `_parts` is its own, and so is `close`. The line bounds how much is collected."""

    __slots__ = ()

    face: Face
    """Whose words a refusal is in."""
    _parts: list[bytes]

    def feed(self, data: bytes) -> bytes:
        """Collect."""
        self._parts.append(data)
        return b""

    def fault(self, error: PenstockError) -> bytes:
        """Whole answers are never begun, so this is the whole refusal."""
        return refusal.body(self.face, error)

    def _body(self) -> bytes:
        return self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
