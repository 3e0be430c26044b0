"""A request whose deadline has passed: which of its limits that was, and what follows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock.errors import EngineTimeout
from penstock.gateway.phase import Phase

if TYPE_CHECKING:
    from penstock.gateway.request import Request


def expire(request: Request, now: float) -> None:
    """The deadline of its phase has passed, in monotonic seconds."""
    attempt = request.attempt
    if request.phase is Phase.QUEUED:
        request.shed(request.line.admission.too_late(request.line.limits.queue_wait))
    elif attempt is not None and attempt.reader is not None and attempt.reader.finished:
        # It has said everything and does not end: its connection is of no more use.
        attempt.drop()
        attempt.complete()
    elif now >= request.total:
        request.run_out("The answer took longer than its total limit allows.")
    elif attempt is not None and attempt.begun:
        # A deadline is not moved with every piece of a stream, but looked at again when it has passed.
        request.deadline = min(request.total, attempt.silent_since() + request.between_tokens)
        if request.deadline <= now:
            request.failed(EngineTimeout(f"Nothing more came within {request.between_tokens:g} s."))
    else:
        request.failed(EngineTimeout(f"No {'first token' if request.call.stream else 'answer'} within its limit."))
