"""A request whose engine is a process of our own that has no address yet."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from penstock.errors import Refusal, Unavailable
from penstock.gateway.phase import Phase

if TYPE_CHECKING:
    from penstock.gateway.backend import Backend
    from penstock.gateway.request import Request


class Starting:
    """Waits for it, and goes on when it is up or has failed to come up."""

    __slots__ = ("_instance", "_request")

    def __init__(self, request: Request, instance: Backend) -> None:
        self._request = request
        self._instance = instance
        instance.when_up(self._up)

    def forget(self) -> None:
        """Nobody waits any more."""
        self._instance.forget(self._up)

    def _up(self) -> None:
        request, instance = self._request, self._instance
        request.starting = None
        if request.phase is not Phase.STARTING or request.attempt is None:
            return
        if instance.origin is None:
            request.failed(Unavailable(f"Starting the engine {instance.name}: {instance.reason}"))
            return
        try:
            request.attempt.send(instance.origin, time.monotonic())
        except Refusal as error:
            request.shed(error)
