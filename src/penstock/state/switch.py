"""What an operator has changed of an alias' path without touching the file: a canary, a promoted target. Frozen nouns.

Nothing here does I/O; switches.py keeps them, the gateway obeys them, the command line shows them.
"""

from __future__ import annotations

import msgspec

from penstock.config import Target
from penstock.errors import ConfigError


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """What a canary may do before it is stopped."""

    max_error_rate: float = 0.02
    """Share of its requests, 0 to 1, that may fail."""
    max_p95_ratio: float = 1.5
    """How many times the old path's P95 its own may be."""
    min_requests: int = 50
    """Answers that a step must have seen before it may be followed by the next, and before times are compared."""
    window: float = 300.0
    """Seconds that are looked at; older requests count only where there are too few younger ones."""


class Canary(msgspec.Struct, frozen=True, kw_only=True):
    """A part of an alias' requests that goes to another target first."""

    id: str
    target: Target
    steps: tuple[float, ...]
    """Percent of the requests, in order."""
    step: int = 0
    """Which of them holds now."""
    since: float
    """Wall time at which it began to hold."""
    every: float = 0.0
    """Seconds a step must hold, in good health, before the next; 0 with several steps is never written."""
    promote: bool = False
    """Whether the last step is followed by promotion."""
    callers: tuple[str, ...] = ()
    services: tuple[str, ...] = ()
    """Whose requests are in question; with neither of the two, everybody's."""
    rules: Rules = Rules()

    @property
    def percent(self) -> float:
        """The share that holds now."""
        return self.steps[self.step]

    @property
    def last(self) -> bool:
        """Whether no step is left."""
        return self.step == len(self.steps) - 1


class Switch(msgspec.Struct, frozen=True, kw_only=True):
    """All of it for one alias. One without canary and override is what the file says."""

    alias: str
    revision: int = 0
    """Grows with every change; a change that was decided on an older one is refused."""
    canary: Canary | None = None
    override: Target | None = None
    """A promoted target: asked first, whatever the file says."""

    @property
    def plain(self) -> bool:
        """Whether the file alone decides."""
        return self.canary is None and self.override is None


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was done to an alias' path, by a person or by the gateway itself."""

    what: str
    """`canary start`, `canary widen`, `canary step`, `canary stop`, `canary promote`, `rollback`."""
    alias: str
    who: str
    """`uid 1000 (ann)` as the kernel says, or `gateway`."""
    reason: str = ""
    detail: dict[str, str] = {}
    made: float = 0.0
    """Wall time."""
    id: str = ""
    """Sorts by time; given when it is written."""


class Changed(ConfigError):
    """Somebody else changed this alias' path since it was read."""
