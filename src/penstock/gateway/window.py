"""What is remembered of the two sides of a canary: the answers of the last minutes, and never fewer than a few. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from penstock.gateway.canary import Figures, Sample, figures, judge
from penstock.state.switch import Rules

MOST = 2_000
"""Answers of one side that are kept; older ones go, however young. Judging them all takes a few milliseconds."""
OLD_KEEPS = 4
"""How many times `min_requests` the old path keeps when it gets no more: after the last step it is what it was."""


class Window:
    """Both sides of one canary."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.canary: deque[Sample] = deque(maxlen=MOST)
        self.old: deque[Sample] = deque(maxlen=MOST)

    def add(self, canary: Iterable[Sample], old: Iterable[Sample]) -> None:
        """What has ended since the last time."""
        self.canary.extend(canary)
        self.old.extend(old)

    def verdict(self, now: float) -> str:
        """Why the canary must stop; empty where it may go on."""
        self._forget(now)
        return judge(self.rules, self.canary, self.old)

    def figures(self, now: float) -> tuple[Figures, Figures]:
        """The canary's and the old path's."""
        self._forget(now)
        return figures(self.canary), figures(self.old)

    def _forget(self, now: float) -> None:
        _forget(self.canary, now - self.rules.window, self.rules.min_requests)
        _forget(self.old, now - self.rules.window, self.rules.min_requests * OLD_KEEPS)


def _forget(side: deque[Sample], before: float, keep: int) -> None:
    while len(side) > keep and side[0].at < before:
        side.popleft()
