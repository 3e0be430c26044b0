"""What is said when engines failed: of a fallback and its cause, and to the caller when nobody is left."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import structlog

from penstock.errors import EngineFault, PenstockError, RateLimited, Unavailable
from penstock.gateway.answer import MissingRoute
from penstock.gateway.retries import costs

if TYPE_CHECKING:
    from penstock.gateway.backend import Backend
    from penstock.gateway.request import Request
    from penstock.gateway.ways import Way

log = structlog.stdlib.get_logger("penstock.line")

Failure = tuple[str, EngineFault]
"""A backend's name, and what it did not do."""


def note(request: Request, backend: Backend, failures: Sequence[Failure]) -> None:
    """The log line that the documents promise, and what the header and the metric say."""
    if request.known is None:
        return
    name = request.known.alias.targets[0].backends[0]
    # A reload may have taken it away since this request came in.
    first = next(iter(request.line.fleet.of((name,))), None)
    why, reason = cause(failures, first)
    if not request.fallback:
        request.line.metrics.count("penstock_fallback", name, backend.name, reason)
    request.fallback = reason
    log.warning(
        "%s failed: %s, trying %s", first.kind.label if first else name, why, backend.kind.label,
        request=request.id.decode(), alias=request.alias_name, to=backend.name, reason=reason,
    )  # fmt: skip


def cause(failures: Sequence[Failure], first: Backend | None) -> tuple[str, str]:
    """Why a request goes to another target than the first: in the words of the log, and as the label of a metric."""
    if failures:
        fault = failures[-1][1]
        return fault.logged, fault.reason
    return (first.reason if first is not None else "") or "its breaker is open", "unhealthy"


def more(request: Request, fault: EngineFault, ahead: Sequence[Way], now: float) -> bool:
    """Whether another way may be tried after this: there is one, and neither the request nor its alias had too many."""
    if request.attempts >= request.line.limits.attempts or not ahead:
        return False
    if not costs(fault) or request.line.retries.allow(request.alias_name, now):
        return True
    request.line.metrics.count("penstock_retries_denied", request.alias_name)
    return False


def last_word(request: Request, untried: Sequence[Way], now: float) -> tuple[PenstockError, str]:
    """What the caller is told when no way is left, and the log."""
    if request.failures and isinstance(request.failures[-1][1], MissingRoute):
        return request.line.unsupported(request.route, request.alias_name), ""
    return refusal_of(request, untried, now), logged(request.failures)


def refusal_of(request: Request, untried: Sequence[Way], now: float) -> PenstockError:
    """What the caller is told when no way is left; `untried` are those whose backends rest."""
    failures = request.failures
    told = [*(f"{name}: {fault.message}" for name, fault in failures), *_resting(untried)]
    message = f"No backend of the model {request.alias_name!r} answered. {'; '.join(told)}"
    rest = _rest(request, now)
    if not failures:
        if untried and all(way.backend.breaker.limited for way in untried):
            return RateLimited(message, hint="Its engines asked to be left alone.", retry_after=rest or 1)
        return Unavailable(message, hint="Try again in a moment.", retry_after=rest or 2)
    last = failures[-1][1]
    if isinstance(last, RateLimited):
        return RateLimited(message, retry_after=rest or last.retry_after or 1)
    return type(last)(message, hint="The gateway's log has the details.", retry_after=rest or last.retry_after)


def _rest(request: Request, now: float) -> int | None:
    """Seconds until the first backend of its ways may be asked again; None where one need not be waited for."""
    if request.known is None:
        return None
    left = [one.breaker.remaining(now) for one in request.known.backends()]
    return math.ceil(min(left)) or None if left else None


def logged(failures: Sequence[Failure]) -> str:
    """The same for the log, with the addresses that callers do not see."""
    return "; ".join(f"{name}: {fault.logged}" for name, fault in failures)


def _resting(ways: Sequence[Way]) -> list[str]:
    backends = dict.fromkeys(way.backend for way in ways)
    return [f"{one.name}: {one.reason or _why(one)}" for one in backends]


def _why(backend: Backend) -> str:
    return "it asked to be left alone" if backend.breaker.limited else "resting after failures"
