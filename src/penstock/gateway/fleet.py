"""All engines of a process: which there are, by the configuration and by the roll, and who of them carries how much."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterable

from penstock import config
from penstock.gateway import replicas
from penstock.gateway.backend import Backend, State
from penstock.gateway.breaker import State as BreakerState

FIRST_LOOK = 3.0
"""Seconds a start waits for the first look at every backend; later ones become ready while we serve."""


class Fleet:
    """All backends of one process."""

    def __init__(self, settings: config.Config) -> None:
        self.settings = settings
        self.backends: dict[str, Backend] = {}
        """Every engine by its name."""
        self._members: dict[str, dict[str, config.Backend]] = {}
        """The engines that each backend of the configuration stands for."""
        self.lists: replicas.Lists = {}
        self.found: replicas.Found = {}
        self._retiring: set[asyncio.Task[None]] = set()
        self.generation = 0
        """Grows whenever something changed that an order of candidates rests on."""

    async def start(self) -> None:
        """Start every backend and take a first look, so that the first request finds a known fleet."""
        self._arrange(self.settings)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FIRST_LOOK):
                await asyncio.gather(*(backend.seen.wait() for backend in self.backends.values()))

    async def stop(self) -> None:
        """Stop every backend, those that a reload removed included."""
        for task in self._retiring:
            task.cancel()
        await asyncio.gather(*self._retiring, return_exceptions=True)
        await asyncio.gather(*(backend.stop() for backend in self.backends.values()))

    def adopt(self, settings: config.Config) -> None:
        """Take a new configuration: unchanged backends stay as they are, with their connections and breakers.

        Those that are gone answer what they have begun, within the total limit, and stop.
        """
        self._arrange(settings, anew=settings.limits.connect != self.settings.limits.connect)

    def reshape(self, lists: replicas.Lists, found: replicas.Found) -> bool:
        """Take replicas as a file, orders and names give them now; who is no longer among them drains. Whether any changed."""
        self.lists, self.found = lists, found
        changed = replicas.expanded(self.settings, lists, found) != self._members
        if changed:
            self._arrange(self.settings)
        return changed

    def of(self, names: Iterable[str]) -> list[Backend]:
        """The engines that these backends of the configuration stand for."""
        members = [one for name in names for one in self._members.get(name, (name,))]
        return [self.backends[one] for one in members if one in self.backends]

    def standing_for(self, replica: str | None) -> str | None:
        """The backend of the configuration that an engine stands for."""
        return next((name for name, group in self._members.items() if replica in group), replica)

    def _arrange(self, settings: config.Config, *, anew: bool = False) -> None:
        """Start engines that are new, retire those that are gone or given otherwise; all of them, if `anew`."""
        members = replicas.expanded(settings, self.lists, self.found)
        wanted = {name: one for group in members.values() for name, one in group.items()}
        stale = [name for name, one in self.backends.items() if anew or wanted.get(name) != one.settings]
        kept = self.backends.keys() - set(stale)
        # Made before anything changes: what cannot be made leaves all as it was.
        connect = settings.limits.connect
        fresh = [Backend(name, one, connect, self._change) for name, one in wanted.items() if name not in kept]
        gone = [self.backends.pop(name) for name in stale]
        self.settings, self._members = settings, members
        for one in fresh:
            self.backends[one.name] = one
            one.start()
        self._change()
        for backend in gone:
            backend.retire()
            retiring = asyncio.create_task(_retire(backend, settings.limits.total), name=f"retire {backend.name}")
            self._retiring.add(retiring)
            retiring.add_done_callback(self._retiring.discard)

    def _change(self) -> None:
        self.generation += 1

    def healthy(self, backend: str, model: str) -> bool:
        """Up, serving this model, its breaker not open."""
        one = self.backends[backend]
        if one.state in {State.STARTING, State.DOWNLOADING}:
            return True
        if one.state is not State.READY or one.breaker.state(time.monotonic()) is BreakerState.OPEN:
            return False
        return not one.sighting.models or one.model(model) is not None

    def load(self, backend: str) -> float:
        """What it is taken to carry: its requests, and its failures of late, so that who fails at once does not look idle."""
        one = self.backends[backend]
        gauges = one.sighting.load
        carried = max(gauges.running, one.busy) + gauges.waiting
        return carried if one.breaker.calm else carried + one.breaker.blame(time.monotonic())


async def _retire(backend: Backend, limit: float) -> None:
    """Stop it once it carries nothing of ours, or the limit has passed, or the process ends."""
    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit):
                await backend.idle()
    finally:
        await backend.stop()
