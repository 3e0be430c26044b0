"""What is said when engines failed: of a fallback and its cause, and to the caller when nobody is left."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import structlog

from penstock.errors import EngineFault, PenstockError, RateLimited, Unavailable

if TYPE_CHECKING:
    from penstock.gateway.fleet import Backend
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
    first = request.line.fleet.backends.get(name)
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


def refusal_of(alias: str, failures: Sequence[Failure], untried: Sequence[Way]) -> PenstockError:
    """What the caller is told when no way is left; `untried` are those whose backends rest."""
    tried = "; ".join(f"{name}: {fault.message}" for name, fault in failures) or "; ".join(_resting(untried))
    message = f"No backend of the model {alias!r} answered. {tried}"
    if not failures:
        return Unavailable(message, hint="Try again in a moment.", retry_after=2)
    last = failures[-1][1]
    if isinstance(last, RateLimited):
        return RateLimited(message, retry_after=last.retry_after or 1)
    return type(last)(message, hint="The gateway's log has the details.", retry_after=last.retry_after)


def logged(failures: Sequence[Failure]) -> str:
    """The same for the log, with the addresses that callers do not see."""
    return "; ".join(f"{name}: {fault.logged}" for name, fault in failures)


def _resting(ways: Sequence[Way]) -> list[str]:
    backends = dict.fromkeys(way.backend for way in ways)
    return [f"{one.name}: {one.reason or 'resting after failures'}" for one in backends]
