"""One breaker per backend: after a row of failures it is left alone for a while, then tried with one request.

Pure; time is an argument. Refusals of a caller's own making are never counted here.
"""

from __future__ import annotations

from enum import StrEnum

TRIP = 5
"""Failures in a row that open it."""
FIRST_REST = 1.0
LONGEST_REST = 30.0


class State(StrEnum):
    """What the breaker lets through."""

    CLOSED = "closed"
    HALF_OPEN = "half_open"
    OPEN = "open"


class Breaker:
    """Counts failures in a row."""

    __slots__ = ("_failures", "_rest", "_trial", "_trials", "_until", "calm")

    def __init__(self) -> None:
        self.calm = True
        """No failure since the last success: nothing here needs to be asked."""
        self._failures = 0
        self._rest = FIRST_REST
        self._until = 0.0
        self._trial = 0
        """The number of the trial that is out; 0 while none is."""
        self._trials = 0

    def state(self, now: float) -> State:
        """Closed, open, or half open: resting is over and one trial may go."""
        if self._failures < TRIP:
            return State.CLOSED
        return State.OPEN if now < self._until else State.HALF_OPEN

    @property
    def until(self) -> float:
        """When an open breaker lets its next trial through; infinity for a closed one."""
        return self._until if self._failures >= TRIP else float("inf")

    def admits(self, now: float) -> bool:
        """Whether a request may go now."""
        if self._failures < TRIP:
            return True
        return now >= self._until and not self._trial

    def begin(self, now: float) -> int:
        """A request goes; in half-open state it is the trial, and this its number. 0 for any other."""
        if self._failures < TRIP or now < self._until:
            return 0
        self._trials += 1
        self._trial = self._trials
        return self._trial

    def succeeded(self) -> None:
        """It answered."""
        self.calm = True
        self._failures = 0
        self._rest = FIRST_REST
        self._until = 0.0
        self._trial = 0

    def failed(self, now: float) -> None:
        """It did not do its part. A trial is out until it is `released`, whoever fails meanwhile."""
        self.calm = False
        self._failures += 1
        # Requests that were under way when it opened fail by the same cause: they don't make its rest longer.
        if self._failures >= TRIP and now >= self._until:
            self._until = now + self._rest
            self._rest = min(self._rest * 2, LONGEST_REST)

    def released(self, trial: int) -> None:
        """The request with this number is over, whatever it said of the backend. Of 0, and of a trial before, nothing follows."""
        if trial and trial == self._trial:
            self._trial = 0
