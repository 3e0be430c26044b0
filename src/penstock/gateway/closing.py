"""The end of a request: what is counted of it and what is kept."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from penstock.gateway import users
from penstock.gateway.canary import Sample
from penstock.gateway.record import Record
from penstock.gateway.split import ending
from penstock.protocols.midstream import Joined
from penstock.types import LOCAL

if TYPE_CHECKING:
    from penstock.gateway.metrics import Series
    from penstock.gateway.request import Request
    from penstock.gateway.split import Side
    from penstock.protocols.dialect import Reader


def series(request: Request) -> Series:
    """Where it is counted: with its alias, its backend if one was asked, and its operation if that is known."""
    if request.attempt is not None:
        return request.attempt.way.series
    operation = request.call.operation.value if request.call.path else ""
    return request.line.metrics.series(request.alias_name, "", operation)


def generated(request: Request) -> int:
    """Tokens that its engine counted for the answer; 0 where it told none."""
    reader = request.attempt.reader if request.attempt is not None else None
    return reader.usage.completion_tokens if reader is not None and reader.usage is not None else 0


def keep(request: Request, status: int, outcome: str, error: str) -> None:
    """Count it in the series of its backend, for its side of a canary, and in the log."""
    seconds = (time.monotonic_ns() - request.timing.arrived) / 1e9
    reader = request.attempt.reader if request.attempt is not None else None
    counted = series(request)
    counted.statuses[status] = counted.statuses.get(status, 0) + 1
    counted.seconds.observe(seconds)
    if reader is not None and reader.usage is not None:
        counted.prompt_tokens += reader.usage.prompt_tokens
        counted.completion_tokens += reader.usage.completion_tokens
    if request.known is not None and request.known.side is not None:
        _note_side(request, request.known.side, status, seconds, outcome)
    if request.caller.key_id or request.quota is not None:
        request.line.quotas.settle(request, status)
    if request.receipt is not None:
        request.receipt.closed(request, status, outcome, error)
    if request.line.traces is not None and request.trace:
        request.line.traces.ended(request, status, outcome, error)
    if request.caller is not LOCAL:
        usage = reader.usage if reader is not None else None
        request.line.tenants.ended(request.caller.tenant, status, usage)
    records = request.line.records
    if records.lines:
        records.add(_record(request, status, seconds, outcome, error, reader))


def _note_side(request: Request, side: Side, status: int, seconds: float, told: str) -> None:
    """A canary runs: how this ended for the side it was on."""
    timing = request.timing
    first = ((timing.first - timing.arrived) / 1e9 if timing.first else seconds) if request.call.stream else 0.0
    rank = request.attempt.way.rank if request.attempt is not None else 0
    side.over(Sample(time.monotonic(), ending(status, told, rank), seconds, first))


def _record(request: Request, status: int, seconds: float, outcome: str, error: str, reader: Reader | None) -> Record:
    # By position, in the order of its fields: naming them costs more than everything else here. What most requests do not
    # have is set afterwards.
    record = Record(
        "request",
        "info",
        time.time(),
        request.id.decode(),
        request.caller.name,
        request.route.path,
        status,
        seconds,
        request.alias_name,
    )
    if request.attempt is not None:
        way = request.attempt.way
        record.backend, record.model, record.attempts = way.backend.name, way.model, request.attempts
    if reader is not None:
        if reader.usage is not None:
            record.prompt_tokens = reader.usage.prompt_tokens
            record.completion_tokens = reader.usage.completion_tokens
        record.finish = reader.finish_reason or ""
    if request.call.stream:
        record.stream = True
        if request.timing.first:
            record.first_token = (request.timing.first - request.timing.arrived) / 1e9
    if outcome != "answered":
        record.outcome, record.error = outcome, error
    if request.queued or request.fallback or request.trace or request.attempts > 1 or request.verdicts:
        _add_rare(record, request, reader)
    if request.caller.forwards_users:
        record.end_user = users.end_user(request.headers)
    return record


def _add_rare(record: Record, request: Request, reader: Reader | None) -> None:
    if isinstance(reader, Joined):
        record.midstream = reader.gone_on
    if request.queued:
        record.queued = request.queued
    if request.fallback:
        record.fallback = request.fallback
    if request.trace:
        record.trace = request.trace.decode()
    if request.verdicts:
        record.verdicts = "; ".join(f"{step}: {verdict}" for step, verdict in request.verdicts)
