"""One breaker per backend: who fails is left alone for a while, then tried with one request. Pure; time is an argument.

It opens after a row of failures, or when half of what was asked lately failed, so that a backend that fails every other
time is caught as well. After a successful trial it is on probation: two failures in a row open it again, for longer than before. A
backend that names a time itself (429 or 503 with Retry-After) is left alone until then. Refusals of a caller's own making
are never counted here.
"""

from __future__ import annotations

from enum import StrEnum

TRIP = 5
"""Failures in a row that open it."""
RELAPSE = 2
"""The same on probation."""
VOLUME = 10
"""Ends of requests in the window below which their share of failures says nothing."""
SHARE = 0.5
"""Share of failures that opens it."""
SPAN = 5.0
"""Seconds of half a window: what is older than one to two of these is forgotten."""
PROBATION = 10.0
"""Seconds after which an answer ends it, and its next rest is a short one again."""
PROVEN = 10
"""Answers that do so sooner. Who fails one request in ten serves the other nine, and must not rest for longer and longer."""
FIRST_REST = 1.0
LONGEST_REST = 30.0
FIRST_PAUSE = 0.25
"""Seconds after a 429 that names no time; doubled where few were answered since the last one."""
LONGEST_PAUSE = 8.0
LONGEST_HOLD = 60.0
"""Seconds of a Retry-After that are kept to: what an engine says may be wrong, or a date of a wrong clock."""


class State(StrEnum):
    """What the breaker lets through."""

    CLOSED = "closed"
    HALF_OPEN = "half_open"
    OPEN = "open"


class _Lately:
    """Good and bad ends of requests in the last one to two half windows."""

    __slots__ = ("_bad", "_before", "_began", "_good")

    def __init__(self) -> None:
        self._began = 0.0
        self._good = self._bad = 0
        self._before = (0, 0)

    def note(self, now: float, *, good: bool) -> None:
        self._turn(now)
        if good:
            self._good += 1
        else:
            self._bad += 1

    def ends(self, now: float) -> tuple[int, int]:
        """Good ones and bad ones."""
        self._turn(now)
        return self._good + self._before[0], self._bad + self._before[1]

    def forget(self) -> None:
        self._good = self._bad = 0
        self._before = (0, 0)

    def _turn(self, now: float) -> None:
        passed = now - self._began
        if passed >= SPAN:
            self._before = (self._good, self._bad) if passed < 2 * SPAN else (0, 0)
            self._good = self._bad = 0
            self._began = now


class Breaker:
    """What the ends of a backend's requests say of it."""

    __slots__ = (
        "_lately",
        "_open",
        "_pause",
        "_probation",
        "_proven",
        "_rest",
        "_row",
        "_trial",
        "_trials",
        "_until",
        "_watched",
        "calm",
        "limited",
    )

    def __init__(self) -> None:
        self.calm = True
        """No failure lately and no rest: nothing here needs to be asked."""
        self.limited = False
        """The rest was asked for by the backend, which sheds load, and not brought about by failures."""
        self._watched = False
        self._open = False
        self._row = 0
        self._lately = _Lately()
        self._rest = FIRST_REST
        self._pause = FIRST_PAUSE
        self._proven = PROVEN
        """Answers since it was closed or paused last."""
        self._probation = 0.0
        self._until = 0.0
        self._trial = 0
        """The number of the trial that is out; 0 while none is."""
        self._trials = 0

    def watch(self, *, closely: bool) -> None:
        """Whether every request shall ask what may go, though nothing failed: something else about the backend is odd."""
        self._watched = closely
        if closely:
            self.calm = False

    def state(self, now: float) -> State:
        """Closed, open, or half open: resting is over and one trial may go."""
        if not self._open:
            return State.CLOSED
        return State.OPEN if now < self._until else State.HALF_OPEN

    @property
    def until(self) -> float:
        """When an open breaker lets its next trial through; infinity for a closed one."""
        return self._until if self._open else float("inf")

    def remaining(self, now: float) -> float:
        """Seconds of rest that are left; 0 where it may be asked."""
        return max(self._until - now, 0.0) if self._open else 0.0

    def blame(self, now: float) -> float:
        """Failures of late, as requests that it carries: who fails at once must not look idle."""
        return 0.0 if self.calm else float(self._lately.ends(now)[1])

    def admits(self, now: float) -> bool:
        """Whether a request may go now."""
        return not self._open or (now >= self._until and not self._trial)

    def begin(self, now: float) -> int:
        """A request goes; in half-open state it is the trial, and this its number. 0 for any other."""
        if not self._open or now < self._until:
            return 0
        self._trials += 1
        self._trial = self._trials
        return self._trial

    def succeeded(self, now: float, trial: int = 0) -> bool:
        """It answered; whether that closed it. Of an open one only the trial's answer does: others are of the time before."""
        self._lately.note(now, good=True)
        if self._open:
            if not trial or trial != self._trial:
                return False
            self._close(now)
            return True
        self._row = 0
        self._proven += 1
        if self._proven >= PROVEN or now >= self._probation:
            self._probation = 0.0
            self._rest = FIRST_REST
            self.calm = not self._watched and not self._lately.ends(now)[1]
        return False

    def failed(self, now: float) -> bool:
        """It did not do its part; whether that opened it. A trial is out until it is `released`, whoever fails meanwhile."""
        self.calm = False
        self._row += 1
        self._lately.note(now, good=False)
        if self._open:
            # Requests that were under way when it opened fail by the same cause: they don't make its rest longer.
            if now < self._until:
                return False
        elif not self._too_much(now):
            return False
        self._open, self.limited = True, False
        self._until = now + self._rest
        self._rest = min(self._rest * 2, LONGEST_REST)
        return True

    def told_to_wait(self, now: float, seconds: float | None, *, limited: bool = True) -> bool:
        """It asked to be left alone, for so many seconds where it said; whether that opened it or made its rest longer."""
        before = self._until if self._open and now < self._until else 0.0
        if not seconds:
            if before:  # those that were under way together are one refusal
                return False
            seconds = self._pause = FIRST_PAUSE if self._proven >= PROVEN else min(self._pause * 2, LONGEST_PAUSE)
            self._proven = 0
        until = now + min(seconds, LONGEST_HOLD)
        if until <= before:
            return False
        if not before:
            self.limited = limited
        self.calm = False
        self._open = True
        self._until = until
        return True

    def released(self, trial: int) -> None:
        """The request with this number is over, whatever it said of the backend. Of 0, and of a trial before, nothing follows."""
        if trial and trial == self._trial:
            self._trial = 0

    def _too_much(self, now: float) -> bool:
        if self._row >= (RELAPSE if now < self._probation else TRIP):
            return True
        good, bad = self._lately.ends(now)
        return good + bad >= VOLUME and bad >= SHARE * (good + bad)

    def _close(self, now: float) -> None:
        self._open = False
        self._row = self._trial = self._proven = 0
        self._until = 0.0
        self._lately.forget()
        self._probation = now + PROBATION
