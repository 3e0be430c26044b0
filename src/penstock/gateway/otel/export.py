"""How bytes get to a collector, whatever carries them: what is sent, and what became of it. The two ways are over_http.py and over_grpc.py."""

from __future__ import annotations

from typing import Literal, NamedTuple, Protocol

Signal = Literal["traces", "metrics"]

LIMIT = 5.0
"""Seconds for one export, from the connection to the end of the answer."""
ANSWER = 64 * 1024
"""Bytes of an answer that are read."""


class Outcome(NamedTuple):
    """What a collector said to one export."""

    why: str = ""
    """Empty where it took it."""
    again: bool = False
    """Whether the same bytes may be taken later."""
    wait: float = 0.0
    """Seconds it asks to be left alone for."""
    answer: bytes = b""
    """Its own message, where it took them."""


class Sender(Protocol):
    """One connection to one collector, used by one thread."""

    def send(self, signal: Signal, data: bytes) -> Outcome:
        """Export; blocks for `LIMIT` at most, and never raises for what a collector does."""

    def close(self) -> None:
        """End the connection."""
