"""What a client has done so far, for whoever watches it (S1.39): calls, attempts again, fallbacks by reason. Thread-safe."""

from __future__ import annotations

import threading
from collections import Counter

import msgspec


class Counted(msgspec.Struct, frozen=True, kw_only=True):
    """The figures at one moment."""

    calls: int
    """Calls begun."""
    answers: int
    """Calls that ended in an answer, or in a stream that began."""
    retries: int
    """Further attempts at an engine that had failed."""
    fallbacks: dict[str, int]
    """Calls that this client took to its spare engine, by reason."""
    gateway_fallbacks: dict[str, int]
    """Answers that a gateway says did not come from its first target, by reason."""
    failures: int
    """Calls that ended in an engine's fault."""

    @property
    def fallback_count(self) -> int:
        return sum(self.fallbacks.values())


class Counts:
    """The figures as they grow."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls = self._answers = self._retries = self._failures = 0
        self._fallbacks: Counter[str] = Counter()
        self._gateway: Counter[str] = Counter()

    def call(self) -> None:
        with self._lock:
            self._calls += 1

    def answer(self, gateway_fallback: str = "") -> None:
        with self._lock:
            self._answers += 1
            if gateway_fallback:
                self._gateway[gateway_fallback] += 1

    def retry(self) -> None:
        with self._lock:
            self._retries += 1

    def failure(self) -> None:
        with self._lock:
            self._failures += 1

    def fallback(self, reason: str) -> None:
        with self._lock:
            self._fallbacks[reason] += 1

    def now(self) -> Counted:
        with self._lock:
            return Counted(
                calls=self._calls,
                answers=self._answers,
                retries=self._retries,
                fallbacks=dict(self._fallbacks),
                gateway_fallbacks=dict(self._gateway),
                failures=self._failures,
            )
