"""How many more attempts an alias may make than it has requests, so that retries cannot multiply a fault. Pure.

A bucket of tokens, as in gRPC and Linkerd: each request adds a share of a token, each second a tenth of the reserve, and an
attempt after an engine's error takes one. Over any stretch of time there are at most

    reserve + reserve / 10 · seconds + share · requests

of them, however often clients themselves ask again. Nothing is done here for a request that needs no second attempt: how
many there were is told when one does. Time is an argument.
"""

from __future__ import annotations

from collections.abc import Callable

from penstock.errors import EngineFault, Unreachable

REFILL = 10.0
"""Seconds in which an empty reserve fills without any request."""
COUNT_EVERY = 0.1
"""Seconds between two counts of an alias' requests."""


def costs(fault: EngineFault) -> bool:
    """Whether moving on after this takes a token: an engine that is gone did no work, and its breaker ends it soon."""
    return not isinstance(fault, Unreachable)


class Budgets:
    """Those of all aliases; how many requests there were is asked of `ended`, and not more often than there is need."""

    def __init__(self, ended: Callable[[str], int]) -> None:
        self._ended = ended
        self._share, self._reserve = 0.0, 0
        self._budgets: dict[str, Budget] = {}
        self._counts: dict[str, tuple[float, int]] = {}

    def adopt(self, share: float, reserve: int) -> None:
        """Take limits, at first or anew."""
        if (share, reserve) != (self._share, self._reserve):
            self._share, self._reserve = share, reserve
            self._budgets.clear()

    def allow(self, alias: str, now: float) -> bool:
        """One more attempt for a request of this alias."""
        at, count = self._counts.get(alias, (float("-inf"), 0))
        if now - at >= COUNT_EVERY:
            count = self._ended(alias)
            self._counts[alias] = (now, count)
        budget = self._budgets.get(alias)
        if budget is None:
            budget = self._budgets[alias] = Budget(self._share, self._reserve, now, count)
        return budget.take(now, count)


class Budget:
    """The tokens of one alias."""

    __slots__ = ("_at", "_requests", "_reserve", "_share", "_tokens")

    def __init__(self, share: float, reserve: int, now: float, requests: int) -> None:
        self._share = share
        self._reserve = float(reserve)
        self._tokens = float(reserve)
        self._at = now
        self._requests = requests

    def take(self, now: float, requests: int) -> bool:
        """One more attempt, if there is a token; `requests` have ended so far."""
        earned = self._share * max(requests - self._requests, 0) + self._reserve / REFILL * max(now - self._at, 0.0)
        self._tokens = min(self._tokens + earned, self._reserve)
        self._at, self._requests = now, requests
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True
