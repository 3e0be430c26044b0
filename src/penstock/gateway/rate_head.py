"""The `x-ratelimit-*` lines of an answer, in OpenAI's form, and the refusals of callers that are over a limit. Pure."""

from __future__ import annotations

from math import ceil

from penstock.errors import BudgetSpent, PenstockError, RateExceeded
from penstock.gateway.quota import Book, Lease, Unit

SPREAD = 0.1
"""Of a wait, the part over which those who are refused are asked to come back, so that they do not all come at once."""
LONGEST_SPREAD = 60.0
_WORDS = {Unit.REQUESTS: "requests", Unit.TOKENS: "tokens", Unit.SLOTS: "requests at the same time"}
_PERIODS = {"day": " today", "month": " this month", "": " per minute"}


_REQUESTS = (
    b"x-ratelimit-limit-requests: %d\r\nx-ratelimit-remaining-requests: %d\r\nx-ratelimit-reset-requests: %b\r\n"
)
_TOKENS = b"x-ratelimit-limit-tokens: %d\r\nx-ratelimit-remaining-tokens: %d\r\nx-ratelimit-reset-tokens: %b\r\n"


def lines(book: Book, now: float, wall: float) -> bytes:
    """Of requests the rate, of tokens whichever limit has the least left. Times are monotonic and Unix seconds."""
    found = b""
    lease = book.requests
    if lease is not None:
        left = lease.remaining(now)
        found = _REQUESTS % (lease.most, left, _reset(lease, left, wall))
    least = -1
    for one in book.tokens:
        left = one.remaining(now)
        if left < least or least < 0:
            lease, least = one, left
    return found + _TOKENS % (lease.most, least, _reset(lease, least, wall)) if lease and least >= 0 else found


def _reset(lease: Lease, left: int, wall: float) -> bytes:
    """When the whole of it is there again."""
    return duration((lease.most - left) / lease.rate if lease.rate else max(lease.ends - wall, 0.0))


def duration(seconds: float) -> bytes:
    """As Go writes one, and OpenAI's headers: `120ms`, `1s`, `6m0s`."""
    if seconds < 1.0:
        return b"%dms" % ceil(seconds * 1000)
    whole = ceil(seconds)
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    if hours:
        return b"%dh%dm%ds" % (hours, minutes, rest)
    return b"%dm%ds" % (minutes, rest) if minutes else b"%ds" % rest


def too_much(lease: Lease, need: int) -> PenstockError:
    """One request that no wait would let through."""
    limit = lease.limit
    return RateExceeded(
        f"This request may come to {need} tokens, and {_whose(lease)} has a limit of {limit.most} ({limit.kind}).",
        hint="Send less at once, or a smaller max_tokens.",
    )


def refused(lease: Lease, need: int, now: float, wall: float, turn: float) -> PenstockError:
    """One that may come through later; `turn`, 0 to 1, is this one's place among those who are sent away."""
    limit = lease.limit
    wait = _wait(lease, need, now, wall)
    after = ceil(wait + min(wait * SPREAD + 1.0, LONGEST_SPREAD) * turn)
    what = f"{limit.most} {_WORDS[limit.unit]}{_PERIODS[limit.calendar] if limit.unit is not Unit.SLOTS else ''}"
    needed = f", and this request may come to {need}" if limit.unit is Unit.TOKENS else ""
    message = (
        f"{_whose(lease).capitalize()} has a limit of {what} ({limit.kind}): {lease.remaining(now)} are left{needed}."
    )
    hint = f"Try again in {after} s."
    if limit.calendar:
        return BudgetSpent(message, hint=hint, retry_after=after)
    return RateExceeded(message, hint=hint, retry_after=after)


def _wait(lease: Lease, need: int, now: float, wall: float) -> float:
    limit = lease.limit
    if limit.calendar:
        return max(lease.ends - wall, 1.0)
    if limit.rate:
        return max((need - lease.remaining(now)) / limit.rate, 1.0)
    return 1.0


def _whose(lease: Lease) -> str:
    return "the tenant of this key" if lease.limit.holder.startswith("tenant:") else "this key"
