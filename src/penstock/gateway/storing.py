"""An answer that its engine stores: its client has the end of it only when the state knows where it lives.

So an id that a client was given can be asked for after any end of this process, SIGKILL included. A state that does not
take it in time holds nobody up: the place is remembered in memory, offered to the state again, and the figures say so.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from penstock.gateway.phase import Phase

if TYPE_CHECKING:
    from penstock.gateway.request import Request
    from penstock.protocols.dialect import Reader

LONGEST = 5.0
"""Seconds an answer waits for the state. It takes a few milliseconds, and half a second where it has to be opened first."""


def begin(request: Request, reader: Reader, rest: bytes) -> bool:
    """Whether the end of this answer waits; then `request.succeeded` is called once more."""
    attempt, made = request.attempt, getattr(reader, "answer_id", None)
    if attempt is None or not made:
        return False
    limits = request.line.limits
    waiting = _Waiting(request, reader, rest)
    then = partial(waiting.loop.call_soon_threadsafe, waiting.over)
    if not request.line.answers.put(request.caller.tenant, made, attempt.way.backend.name, then):
        return False
    # A client that catches up meanwhile brings the next limit back, which is longer than this wait.
    request.deadline = float("inf")
    waiting.timer = waiting.loop.call_later(min(LONGEST, 0.9 * limits.between_tokens), waiting.over)
    return True


class _Waiting:
    """One answer whose end is held back."""

    def __init__(self, request: Request, reader: Reader, rest: bytes) -> None:
        self.loop = asyncio.get_running_loop()
        self.timer: asyncio.TimerHandle | None = None
        self._request: Request | None = request
        self._reader = reader
        self._rest = rest

    def over(self) -> None:
        """It is written, or has waited for long enough."""
        request, self._request = self._request, None
        if self.timer is not None:
            self.timer.cancel()
        if request is not None and request.phase is not Phase.OVER:
            request.succeeded(self._reader, self._rest, stored=True)
