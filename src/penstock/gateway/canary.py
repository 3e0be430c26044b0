"""Whether a canary does as well as the old path: pure, of two lists of answers.

Both questions are asked of shares, so that one kind of test guards both. *Fail*: the canary's failures are more than the
rules allow, and more than those of the old path. *Slow*: beyond the allowed multiple of the old path's P95 lie more than
5 % of the canary's answers. Each "more" must be so clear that luck alone would bring it about less than once in a thousand
looks; the tests are exact (binomial, and Fisher's for two shares), so they hold for few requests as for many: a canary
that is dead is stopped after a handful of them, one that is a little worse after many, and bad luck is no reason. No clock,
no I/O.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from enum import StrEnum

import msgspec

from penstock.state.switch import Rules

LUCK = 0.001
"""What luck may explain: a stop needs that it explains less."""
DOUBT = 0.05
"""How often the measure itself, the old path's P95, may be taken for too small; luck has to come on top of it."""
SLOW = 0.05
"""The share of answers that lies beyond a P95."""


class Outcome(StrEnum):
    """How a request ended, for whoever answered it."""

    GOOD = "good"
    FAILED = "failed"
    """The engine did not do its part: an error, a broken stream, or another target had to answer."""
    REFUSED = "refused"
    """The engine says that the request itself is wrong; a canary may see that otherwise than the old path."""
    LEFT = "left"
    """The client did not wait for the end."""


# Members of an Enum are looked up through its metaclass; these are compared thousands of times a look.
_GOOD, _LEFT = Outcome.GOOD, Outcome.LEFT


class Sample(msgspec.Struct, frozen=True, array_like=True):
    """One request that is over."""

    at: float
    """Monotonic seconds of this machine."""
    outcome: Outcome
    seconds: float
    """From its arrival to its end."""
    first: float = 0.0
    """Streams: from its arrival to the first content, or to the end where none came; 0 for whole answers."""


class Share(msgspec.Struct, frozen=True):
    """So many of so many."""

    some: int
    all: int

    @property
    def rate(self) -> float:
        return self.some / self.all if self.all else 0.0

    def __str__(self) -> str:
        return f"{self.some} of {self.all} ({self.rate * 100:.3g} %)"


class Figures(msgspec.Struct, frozen=True):
    """One side in numbers, for people; 0 where there is nothing to measure."""

    requests: int
    failed: int
    refused: int
    left: int
    p95: float
    """Seconds to the end of good answers."""
    p95_first: float
    """Seconds to the first content of streams."""


def judge(rules: Rules, canary: Sequence[Sample], old: Sequence[Sample]) -> str:
    """Why the canary must stop; empty where nothing speaks against it yet."""
    return (
        _more(rules, _share(canary, Outcome.FAILED), _share(old, Outcome.FAILED), "failed")
        # What a caller did wrong counts only where the old path shows how often that happens anyway.
        or (
            _more(rules, _share(canary, Outcome.REFUSED), _share(old, Outcome.REFUSED), "were refused")
            if _enough(rules, old)
            else ""
        )
        or _slower(rules, canary, old, _first, "time to the first token")
        or _slower(rules, canary, old, _whole, "time to the whole answer")
    )


def figures(side: Sequence[Sample]) -> Figures:
    """What there is to tell of one side."""
    count = {outcome: sum(one.outcome is outcome for one in side) for outcome in Outcome}
    return Figures(
        requests=len(side),
        failed=count[Outcome.FAILED],
        refused=count[Outcome.REFUSED],
        left=count[Outcome.LEFT],
        p95=quantile(sorted(map(_whole, filter(_good, side)))),
        p95_first=quantile(sorted(one.first for one in side if _good(one) and one.first)),
    )


def luck(seen: Share, rate: float) -> float:
    """How probable so many or more are where each happens at this rate: the binomial tail."""
    some, of = seen.some, seen.all
    if some <= of * rate:
        return 1.0
    if rate <= 0:
        return 0.0
    return sum(_exactly(one, of, rate) for one in range(some, of + 1))


def luck_beside(seen: Share, other: Share) -> float:
    """How probable so many or more are on this side where both sides are alike: Fisher's exact test, one-sided."""
    if not seen.all or seen.rate <= other.rate:
        return 1.0
    some, of = seen.some + other.some, seen.all + other.all
    return sum(
        math.exp(_ways(seen.all, one) + _ways(other.all, some - one) - _ways(of, some))
        for one in range(seen.some, min(some, seen.all) + 1)
    )


def _exactly(some: int, of: int, rate: float) -> float:
    return math.exp(_ways(of, some) + some * math.log(rate) + (of - some) * math.log1p(-rate))


def _ways(of: int, some: int) -> float:
    """The logarithm of the number of ways to choose so many."""
    return math.lgamma(of + 1) - math.lgamma(some + 1) - math.lgamma(of - some + 1)


def quantile(ordered: Sequence[float], share: float = 1 - SLOW) -> float:
    """The smallest value that so much of a sorted list does not pass; 0 for an empty one."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else 0.0


def _more(rules: Rules, canary: Share, old: Share, what: str) -> str:
    if luck(canary, rules.max_error_rate) >= LUCK or (old.all and luck_beside(canary, old) >= LUCK):
        return ""
    beside = f"; on the old path {old}" if old.all else ""
    return f"{canary} of its requests {what}, allowed are {rules.max_error_rate * 100:.3g} %{beside}"


Seconds = Callable[[Sample], float]


def _slower(rules: Rules, canary: Sequence[Sample], old: Sequence[Sample], seconds: Seconds, what: str) -> str:
    usual = sorted(filter(None, map(seconds, filter(_good, old))))
    if len(usual) < rules.min_requests:
        return ""
    limit = rules.max_p95_ratio * _at_most(usual)
    # A client that left after more than that would have waited even longer.
    told = (one for one in canary if one.outcome is _GOOD or (one.outcome is _LEFT and seconds(one) > limit))
    took = sorted(filter(None, map(seconds, told)))
    if len(took) < rules.min_requests:
        return ""
    slow = Share(sum(one > limit for one in took), len(took))
    if luck(slow, SLOW) >= LUCK:
        return ""
    before, now = quantile(usual), quantile(took)
    return (
        f"the P95 of its {what} is {now:.3g} s, {now / before:.3g} times the old path's {before:.3g} s; "
        f"allowed is {rules.max_p95_ratio:g} times, and {slow} took longer than that"
    )


def _at_most(ordered: Sequence[float]) -> float:
    """What the P95 is at most, but for luck: an order statistic, or the largest value seen where there are too few."""
    count = index = len(ordered)
    # The chance that so many of them lie below the true P95, summed from the top until it is no doubt any more.
    above = _exactly(count, count, 1 - SLOW)
    while above < DOUBT:
        index -= 1
        above += _exactly(index, count, 1 - SLOW)
    return ordered[min(index + 1, count) - 1]


def _share(side: Sequence[Sample], outcome: Outcome) -> Share:
    told = [one.outcome for one in side if one.outcome is not _LEFT]
    return Share(sum(one is outcome for one in told), len(told))


def _enough(rules: Rules, side: Sequence[Sample]) -> bool:
    return len(side) >= rules.min_requests


def _good(one: Sample) -> bool:
    return one.outcome is _GOOD


def _whole(one: Sample) -> float:
    return one.seconds


def _first(one: Sample) -> float:
    return one.first
