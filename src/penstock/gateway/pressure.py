"""Whether this process has enough of a processor, and how many new requests are refused while it has not. Pure.

A loop that comes round late answers everybody late: streams falter, and limits pass that nobody meant. So when it is late
again and again, a growing share of new requests is refused at once with 503 and `Retry-After`, which costs little, and the
share falls again with every round that is in time.
"""

from __future__ import annotations

LATE = 1.0
"""Seconds by which a round is late."""
ROUNDS = 3
"""So many are no hiccup, if not much was in time between them."""
FORGIVES = 10
"""Rounds in time that make up for one that was late: half a second."""
MORE, LESS, MOST = 25, 5, 95
"""Percent that a late round adds, that one in time takes off, and that is never passed."""


class Pressure:
    """Fed with every round of the loop."""

    def __init__(self) -> None:
        self.share = 0
        """Percent of new requests that are refused."""
        self.lag = 0.0
        """Seconds the last round was late."""
        self._late = 0
        self._owed = 0

    def felt(self, lag: float) -> None:
        """One round was so many seconds late."""
        self.lag = lag
        if lag >= LATE:
            self._late = min(self._late + FORGIVES, ROUNDS * FORGIVES)
            if self._late >= (ROUNDS - 1) * FORGIVES + 1:
                self.share = min(MOST, self.share + MORE)
        else:
            self._late = max(0, self._late - 1)
            self.share = max(0, self.share - LESS)

    def sheds(self) -> bool:
        """Whether this one is refused: every nth, so that the share is exact and nothing is drawn by chance."""
        self._owed += self.share
        if self._owed < 100:
            return False
        self._owed -= 100
        return True
