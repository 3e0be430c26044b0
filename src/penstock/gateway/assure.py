"""Asks who answers at an address before a request goes to a process that may be new there, and whether it has the model.

An engine that ends closes its connections, so a request that finds one open finds the process that was looked at. Only a
new connection after one was lost, or where none is open, may lead to another process: with another model, at worst one
that answers whatever it is asked for. `Origin.sure` asks here then; requests that come together share one look.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from penstock.errors import BrokenAnswer, EngineFault, EngineRefused, NotLoaded
from penstock.gateway.probe import GLANCES

if TYPE_CHECKING:
    from penstock.gateway.backend import Backend
    from penstock.gateway.upstream import Origin

TIMEOUT = 2.0
"""Seconds a look may take."""


class Assurance:
    """One backend's, called with the model that a request is for."""

    def __init__(self, backend: Backend, origin: Origin) -> None:
        self._backend = backend
        self._origin = origin
        self._looking: asyncio.Task[EngineFault | None] | None = None

    async def __call__(self, model: str) -> None:
        """Return when the model is there, as far as anybody can tell; else raise what is wrong."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look(), name=f"look at {self._backend.name}")
        # shared: one of those who wait may leave
        fault = await asyncio.shield(self._looking)
        if fault is not None:
            raise fault
        if self._backend.gone(model):
            raise NotLoaded(f"it no longer serves {model!r}").at(self._origin.url)

    async def _look(self) -> EngineFault | None:
        backend, origin = self._backend, self._origin
        doubts = origin.doubts
        try:
            seen = await GLANCES[backend.kind](origin, backend.key_header, TIMEOUT, backend.sighting)
        except (EngineRefused, BrokenAnswer) as fault:
            # It answers, and never told its models: then it is believed, as it was before.
            return fault if backend.sighting.models else None
        except EngineFault as fault:
            # Told to those who wait, and through them to the breaker; that a backend is down is for probes to say, which
            # also find out that it is back.
            return fault
        backend.glanced(seen)
        origin.assured(doubts)
        return None
