"""What copies may take of a process: bytes that all of them hold, and the slots of each alias. Numbers alone."""

from __future__ import annotations


class Room:
    """Bytes that all copies of a process hold together."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held = 0

    def take(self, size: int) -> bool:
        """Whether there was room for so many more."""
        if self.held + size > self.limit:
            return False
        self.held += size
        return True

    def give(self, size: int) -> None:
        """They are free again."""
        self.held -= size


class Slots:
    """Copies of one alias that a shadow's engine works on, or will."""

    def __init__(self) -> None:
        self.taken = 0
