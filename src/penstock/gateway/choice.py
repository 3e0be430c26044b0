"""Which ways a request may take, in order, where more than its alias decides: replicas, a canary, an answer that it continues."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from penstock.errors import NotLoaded, PenstockError
from penstock.gateway import prefix, route
from penstock.gateway.prefix import Trip
from penstock.gateway.split import Split

if TYPE_CHECKING:
    from penstock.gateway.request import Request
    from penstock.gateway.split import Plan
    from penstock.gateway.ways import Way


def ways(request: Request, known: Plan) -> Sequence[Way]:
    """The best one first. Notes the plan of its side where a canary runs; `Unsupported` where nobody can answer this."""
    line, call, tenant = request.line, request.call, request.caller.tenant
    made_by = line.answers.made_by(tenant, call.previous) if call.previous else None
    header = request.headers.get(b"x-session-id") or request.headers.get(b"x-openwebui-chat-id")
    session = header.decode("latin-1") if header else call.session
    if isinstance(known, Split):
        service = request.headers.get(b"x-penstock-service", b"").decode("latin-1")
        known = request.known = known.plan(call, request.caller, session, service, line.fleet.standing_for(made_by))
    found = known.simple
    if not found:
        asked = None
        if call.operation in route.READ:
            asked = prefix.prompt(tenant, known.name, session, call.body)
            request.trip = Trip(asked)
        found = known.order(asked, time.monotonic())
    if made_by is not None:
        found = [way for way in found if way.backend.name == made_by] or found
    if not found:
        if known.lost:
            raise NotLoaded(
                f"No backend of the model {known.name!r} serves it any more.",
                hint=f"{', '.join(known.lost)} served it once and now serves other models.",
            )
        raise line.unsupported(request.route, known.name)
    return found


def still(request: Request, ahead: Sequence[Way], now: float) -> Sequence[Way]:
    """The ways that are left, found anew where one of them leads to a backend that was taken out, or lost the model."""
    if request.known is None or not any(way.backend.retired or way.backend.gone(way.model) for way in ahead):
        return ahead
    request.known = request.line.served(request.route, request.call, request.caller, now)
    tried = {name for name, _ in request.failures}
    try:
        return [way for way in ways(request, request.known) if way.backend.name not in tried]
    except PenstockError:
        return ()


def free(ahead: Sequence[Way], now: float) -> tuple[int | None, bool]:
    """The place of one with a free slot: any of the first target that does not rest; else whether waiting may bring one."""
    rank: int | None = None
    for index, way in enumerate(ahead):
        if rank is not None and way.rank != rank:
            break
        backend = way.backend
        if backend.retired:
            continue
        if not backend.breaker.calm and (backend.gone(way.model) or not backend.breaker.admits(now)):
            continue
        rank = way.rank
        if backend.busy < backend.slots:
            return index, True
    return None, rank is not None
