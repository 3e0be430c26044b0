"""What this process may still spend of the limits of a caller and its tenant. Pure: no clock, no I/O, time is an argument.

    Lease        what was taken of one limit, in one period, and is not spent
    Book         the limits of one caller: a request reserves from all of them or from none
    Held         what one request has reserved, settled exactly once

Leases are filled by whoever asks the state (quotas.py, keeper.py). Nothing is ever spent that was not taken before, so that
all processes together stay within a limit; only what an engine counts beyond an estimate is owed, and taken afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from enum import IntEnum

import msgspec

from penstock.gateway.estimate import Estimate
from penstock.gateway.meter import Meter
from penstock.state.row import Row
from penstock.types import KeyLimits

MINUTE = 60.0
SHARE = 50
"""Of a limit, the part that a process takes at once as a stock; a limit below this is taken piece by piece."""


class Unit(IntEnum):
    """What a limit counts."""

    REQUESTS = 0
    TOKENS = 1
    SLOTS = 2


class Limit(msgspec.Struct, frozen=True):
    """One limit of one holder."""

    holder: str
    kind: str
    """The name of the field it was set by, also a label of figures."""
    unit: Unit
    most: int
    calendar: str = ""
    """`day` or `month`: it begins anew with each, in UTC."""

    @property
    def label(self) -> str:
        """In figures: of few values, whoever the holder is."""
        return f"tenant_{self.kind}" if self.holder.startswith("tenant:") else self.kind

    @property
    def rate(self) -> float:
        """What comes back each second."""
        return self.most / MINUTE if self.unit is not Unit.SLOTS and not self.calendar else 0.0

    @property
    def stock(self) -> int:
        """What is taken beyond a request's need."""
        return self.most // SHARE

    def period(self, now: float) -> str:
        """The name of the period at this Unix time."""
        if not self.calendar:
            return ""
        return datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%d" if self.calendar == "day" else "%Y-%m")

    def ends(self, now: float) -> float:
        """Unix time at which it begins anew; infinity where it does not."""
        if not self.calendar:
            return float("inf")
        day = datetime.fromtimestamp(now, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        if self.calendar == "day":
            return (day + timedelta(days=1)).timestamp()
        return (day.replace(day=1) + timedelta(days=32)).replace(day=1).timestamp()


class Lease:
    """One limit in one period, as far as this process has it."""

    __slots__ = (
        "asked", "ends", "free", "held", "left", "limit", "most", "owed", "rate", "row", "seen", "touched", "unit", "until",
    )  # fmt: skip

    def __init__(self, limit: Limit, now: float) -> None:
        self.take_limit(limit)
        self.row = Row(limit.holder, limit.kind, limit.period(now))
        self.ends = limit.ends(now)
        self.free = 0
        """Taken, and neither spent nor reserved."""
        self.held = 0
        """Reserved by requests under way."""
        self.owed = 0
        """Spent beyond what was taken; to be taken all the same."""
        self.left = float(limit.most)
        """Of the limit, as the state said at `seen` (monotonic seconds)."""
        self.seen = 0.0
        self.touched = 0.0
        """Monotonic seconds at which a request was here last."""
        self.until = float("inf")
        """Monotonic seconds after which what is lent is lost: of slots alone."""
        self.asked = False
        """The state has been asked for more and has not answered."""

    def take_limit(self, limit: Limit) -> None:
        """At first or anew; what every request reads of it stands here."""
        self.limit = limit
        self.most, self.rate, self.unit = limit.most, limit.rate, int(limit.unit)

    def remaining(self, now: float) -> int:
        """Of the limit, for this caller, as far as is known here; `now` is monotonic."""
        left = self.left + self.free
        if self.rate:
            left += (now - self.seen) * self.rate
        if left >= self.most:
            return self.most
        return int(left) if left > 0 else 0

    def granted(self, amount: int, left: float, now: float) -> None:
        """The state gave some, or said what is left."""
        self.free += amount
        self.left, self.seen = left, now

    def spare(self) -> int:
        """Take out what is free, to give it back."""
        amount, self.free = self.free, 0
        self.left = min(self.left + amount, float(self.limit.most))
        return amount

    def debt(self) -> int:
        """Take out what is owed, to have it charged."""
        amount, self.owed = self.owed, 0
        return amount


_UNKNOWN = Estimate(0, 0)


class Held:
    """What one request has reserved. One that was refused holds nothing, and settles to nothing."""

    __slots__ = ("book", "estimate", "leases", "meter", "settled", "tokens")

    def __init__(self, book: Book, leases: Sequence[Lease], tokens: int) -> None:
        self.book = book
        self.leases = leases
        self.tokens = tokens
        self.estimate = _UNKNOWN
        self.meter: Meter | None = None
        """Counts what is streamed."""
        self.settled = False

    def settle(self, tokens: int, requests: int, now: float) -> bool:
        """It is over and came to so many tokens and requests (0 or 1); False where that was said before."""
        if self.settled:
            return False
        self.settled = True
        real = (requests, tokens, 0)
        reserved = (1, self.tokens, 1)
        for lease in self.leases:
            unit = lease.unit
            lease.held -= reserved[unit]
            lease.free += reserved[unit] - real[unit]
            lease.touched = now
            if lease.free < 0:
                lease.owed -= lease.free
                lease.free = 0
        return True


class Book:
    """All limits of one caller, those of its tenant included."""

    __slots__ = ("ends", "leases", "limits", "requests", "tokens")

    def __init__(self, limits: Sequence[Limit], leases: Sequence[Lease]) -> None:
        self.limits = limits
        self.leases = leases
        self.requests = next((one for one in leases if one.limit.unit is Unit.REQUESTS), None)
        self.tokens = [one for one in leases if one.limit.unit is Unit.TOKENS]
        self.ends = min((one.ends for one in leases), default=float("inf"))
        """Unix time from which one of its leases is of a period that is over."""

    def short(self, tokens: int, now: float) -> list[tuple[Lease, int]]:
        """The leases that have too little for a request of so many tokens, and what it needs of each."""
        need = (1, tokens, 1)
        return [
            (lease, need[lease.unit]) for lease in self.leases if lease.free < need[lease.unit] or lease.until < now
        ]

    def reserve(self, tokens: int, now: float) -> Held | None:
        """Reserve from every lease, or from none; `now` is monotonic."""
        need = (1, tokens, 1)
        leases = self.leases
        for lease in leases:
            if lease.free < need[lease.unit] or lease.until < now:
                return None
        for lease in leases:
            amount = need[lease.unit]
            lease.free -= amount
            lease.held += amount
            lease.touched = now
        return Held(self, leases, tokens)


_KINDS = (
    ("requests_per_minute", Unit.REQUESTS, ""),
    ("tokens_per_minute", Unit.TOKENS, ""),
    ("concurrent", Unit.SLOTS, ""),
    ("tokens_per_day", Unit.TOKENS, "day"),
    ("tokens_per_month", Unit.TOKENS, "month"),
)


def limits_of(holder: str, set_by: KeyLimits) -> list[Limit]:
    """The limits that are set, the strictest in time first."""
    found = []
    for kind, unit, calendar in _KINDS:
        most: int | None = getattr(set_by, kind)
        if most is not None:
            found.append(Limit(holder, kind, unit, most, calendar))
    return found
