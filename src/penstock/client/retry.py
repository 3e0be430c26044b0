"""How often, how long, and what is worth another attempt: pure but for the dice.

One deadline holds for a whole call, however many attempts and engines it takes (X5). Nothing here sleeps.
"""

from __future__ import annotations

import random
import time
from email.utils import parsedate_to_datetime

import msgspec

from penstock.client.failures import ModelNotServed, TookTooLong, WrongPath
from penstock.errors import ConfigError, EngineFault, RateLimited, Unreachable

MOST_PAUSE = 30.0
"""Seconds; an engine that asks for a longer one is given up for this call."""
SPARE_PAUSE = 2.0
"""Likewise where a spare engine could answer at once."""
SPARE_SHARE = 1 / 3
"""Of the time for a call: what is kept for the spare engine when the first one hangs."""
REST = 5.0
"""Seconds that an engine is not asked after it let a call wait in vain, where a spare can answer."""


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """The caller's limits."""

    timeout: float = 90.0
    """Seconds for a whole call; for a stream until its first content (S1.14)."""
    attempts: int = 3
    """At one engine, the first one included (S1.13)."""
    delay: float = 1.0
    """Seconds before the second attempt; doubled before each further one, times a random 0.5 to 1."""
    connect: float = 2.0
    silence: float = 30.0
    """Seconds that a begun stream may say nothing."""

    def __post_init__(self) -> None:
        for name in ("timeout", "connect", "silence"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name}={getattr(self, name)} cannot be used.", hint="It is a number above 0.")
        if self.attempts < 1 or self.delay < 0:
            raise ConfigError(
                f"retry_attempts={self.attempts}, retry_delay={self.delay} cannot be used.",
                hint="At least one attempt, and a delay of 0 or more seconds.",
            )


def pause(policy: Policy, fault: EngineFault, attempt: int, left: float, *, spare: bool) -> float | None:
    """Seconds to wait before the next attempt at the same engine; None: there is none.

    `attempt` counts from 1. With a spare, an engine that cannot be reached, dies or lacks the model is left at once (X5).
    """
    if attempt >= policy.attempts or isinstance(fault, ModelNotServed | WrongPath | TookTooLong):
        return None
    if isinstance(fault, Unreachable) and spare:
        return None
    if fault.retry_after is not None:
        told = float(fault.retry_after)
        return told if told <= (SPARE_PAUSE if spare else MOST_PAUSE) and told < left else None
    if isinstance(fault, RateLimited) and spare:
        return None
    wait = policy.delay * 2 ** (attempt - 1) * random.uniform(0.5, 1.0)  # noqa: S311 - jitter, not a secret
    return wait if wait < left else None


def retry_after(value: bytes | None) -> int | None:
    """Seconds of a Retry-After header, which may be a number or an HTTP date."""
    if value is None:
        return None
    text = value.decode("latin-1").strip()
    try:
        if text.isdecimal():
            return int(text)
        return max(0, int(parsedate_to_datetime(text).timestamp() - time.time()) + 1)
    except (ValueError, TypeError, OverflowError):
        return None
