"""What is switched, in one worker: read from the state, obeyed by the line, changed by orders.

Every worker obeys. An order may come to any of them: it writes the state, then obeys, then tells the others to look. A
change that was decided on something older than the state is refused by the state. Who decides about steps and stops of a
running canary is watch.py, in the first worker.

What leads back to the old path does not wait for a disk: a stop or a rollback is obeyed first, and where the state cannot
be written it holds in memory and is written later.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable

import msgspec
import structlog

from penstock.config import Target
from penstock.errors import BadRequest, ConfigError
from penstock.gateway import orders
from penstock.gateway.canary import Sample
from penstock.gateway.line import Line
from penstock.gateway.peers import Peers
from penstock.gateway.places import Places
from penstock.gateway.split import Side, Sides
from penstock.gateway.warm import cold
from penstock.gateway.watch import Watch
from penstock.state.glance import has_rows
from penstock.state.switch import Changed, Event, Switch

log = structlog.stdlib.get_logger("penstock.switch")

AGAIN = 0.5
"""Seconds after which a worker that did not hear of a change is told again."""
TELL_FOR = 30.0
"""Seconds for which it is; a new worker reads the state itself."""
LATER = 2.0
"""Seconds until the next attempt to write what could not be written."""


class Ended(msgspec.Struct, frozen=True):
    """What has ended on one worker, by canary; it travels over the admin sockets."""

    canary: dict[str, list[Sample]] = {}
    old: dict[str, list[Sample]] = {}


class Switchboard:
    """Owned by a gateway process; `leads` is true for its first worker."""

    def __init__(self, line: Line, places: Places, peers: Peers, url: str, *, leads: bool) -> None:
        self.line = line
        self.peers = peers
        self.switches: dict[str, Switch] = {}
        self._places = places
        self._url = url
        self._sides: dict[str, Sides] = {}
        self._changing = asyncio.Lock()
        self._telling: asyncio.Task[None] | None = None
        self.owed: dict[str, tuple[Switch, Event]] = {}
        """What is obeyed here and could not be written yet."""
        self._held: dict[str, Switch] = {}
        """What another worker could not write yet."""
        self._writing: asyncio.Task[None] | None = None
        self.watch = Watch(self) if leads else None

    # ── life ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def open(self) -> None:
        """Obey what the state says, before the first request."""
        await self.again()
        if self.watch is not None:
            self.watch.start()

    async def close(self) -> None:
        """Stop watching and telling."""
        if self.watch is not None:
            await self.watch.stop()
        for task in (self._telling, self._writing):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    async def again(self, *, told: bool = False) -> None:
        """Read the state and obey it; where that is impossible, go on as before and say so.

        `told`: another worker has written it, so nothing is held for it any more.
        """
        if told:
            self._held.clear()
        async with self._changing:
            try:
                unwritten = {alias: switch for alias, (switch, _) in self.owed.items()}
                self._obey({**await asyncio.to_thread(self._read), **self._held, **unwritten})
            except ConfigError as error:
                log.warning("what was switched cannot be read, the paths stay as they are", problem=error.sentence())

    def _obey(self, switches: dict[str, Switch]) -> None:
        self.switches = switches
        running = {one.canary.id: one.alias for one in switches.values() if one.canary is not None}
        metrics = self.line.metrics
        self._sides = {
            identity: self._sides.get(identity) or Sides(Side(alias, "canary", metrics), Side(alias, "old", metrics))
            for identity, alias in running.items()
        }
        self.line.switch(switches, self._sides)
        if self.watch is not None:
            self.watch.follow(switches)

    def ended(self) -> Ended:
        """What has ended here since this was asked last."""
        sides = self._sides.items()
        return Ended(
            {identity: one.canary.taken() for identity, one in sides},
            {identity: one.old.taken() for identity, one in sides},
        )

    # ── orders ───────────────────────────────────────────────────────────────────────────────────────────────────────

    async def start(self, order: orders.Start, who: str) -> Switch:
        """Begin a canary, once its target has answered a first request; or change the one that runs."""
        alias = self._named(order.alias)

        def decide(before: Switch) -> orders.Outcome:
            identity = os.urandom(6).hex()
            return orders.start(self.line.config, before, order, who=who, now=time.time(), identity=identity)

        before = self.switches.get(alias, Switch(alias=alias))
        after, _ = decide(before)
        if before.canary is None and after.canary is not None:
            await self._warm(alias, after.canary.target)
        return await self.order(alias, decide)

    async def _warm(self, alias: str, target: Target) -> None:
        if why := await cold(target, self.line.fleet):
            raise BadRequest(
                f"Starting a canary of {alias}: its target does not answer. {why}",
                hint="Nothing has changed. Mend it, or leave that backend out of --to.",
            )

    async def stop(self, alias: str, who: str, reason: str) -> Switch:
        """End a canary."""
        return await self.back(alias, lambda before: orders.stop(before, who=who, reason=reason))

    async def promote(self, alias: str, who: str) -> Switch:
        """Put the canary's target first."""
        return await self.order(alias, lambda before: orders.promote(before, who=who))

    async def rollback(self, alias: str, who: str) -> Switch:
        """Back to what the file says."""
        return await self.back(alias, lambda before: orders.rollback(before, who=who))

    async def order(self, named: str, decide: Callable[[Switch], orders.Outcome]) -> Switch:
        """Decide on what the state says now, write it, obey it, tell the others."""
        alias = self._named(named)
        if self.line.draining:
            raise BadRequest(f"Changing the path of {alias}: this process is shutting down.", hint="Ask again.")
        async with self._changing:
            switches = await asyncio.to_thread(self._read)
            after, event = decide(switches.get(alias, Switch(alias=alias)))
            kept = await asyncio.to_thread(self._write, after, event)
            self._obey({**switches, alias: kept})
        self._note(event)
        await self._spread()
        return kept

    async def back(self, named: str, decide: Callable[[Switch], orders.Outcome]) -> Switch:
        """The same for what leads back: obeyed before it is written, and also where it cannot be."""
        alias = self._named(named)
        after, event = decide(self.switches.get(alias, Switch(alias=alias)))
        self._obey({**self.switches, alias: after})
        try:
            return await self.order(alias, decide)
        except Changed:
            raise
        except ConfigError as error:
            log.warning("obeyed, but not written: a restart would forget it", alias=alias, problem=error.sentence())
            self._note(event)
            await self._owe(after, event)
            return after

    async def _owe(self, after: Switch, event: Event) -> None:
        self.owed[after.alias] = (after, event)
        order = msgspec.json.encode(after)
        await asyncio.gather(*(self.peers.post(path, "/switches/hold", order) for path in self.peers.paths))
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write_owed(), name="write switches")

    async def _write_owed(self) -> None:
        while self.owed:
            await asyncio.sleep(LATER)
            for alias, (after, event) in list(self.owed.items()):
                with contextlib.suppress(ConfigError):
                    before = (await asyncio.to_thread(self._read)).get(alias, Switch(alias=alias))
                    after = msgspec.structs.replace(after, revision=before.revision)  # noqa: PLW2901 - the same, on top
                    await asyncio.to_thread(self._write, after, event)
                    # Meanwhile somebody may have ordered the next way back, which is owed in its place.
                    if self.owed[alias][1] is event:
                        del self.owed[alias]
            if not self.owed:
                await self.again()
                await self._spread()

    def hold(self, switch: Switch) -> None:
        """Obey what another worker could not write."""
        self._held[switch.alias] = switch
        self._obey({**self.switches, switch.alias: switch})

    def _named(self, name: str) -> str:
        # An alias that the file has no more may still be rolled back.
        return name if name in self.switches else orders.alias_named(self.line.config, name)

    def _note(self, event: Event) -> None:
        what = event.what.removeprefix("canary ")
        self.line.metrics.count("penstock_canary_events", event.alias, what)
        level = log.warning if what in {"stop", "rollback"} else log.info
        level(event.what, alias=event.alias, who=event.who, reason=event.reason, **event.detail)

    # ── other workers ────────────────────────────────────────────────────────────────────────────────────────────────

    async def _spread(self) -> None:
        deaf = await self._tell(self.peers.paths)
        if self._telling is not None:
            self._telling.cancel()
        self._telling = asyncio.create_task(self._tell_again(deaf), name="tell workers") if deaf else None

    async def _tell(self, paths: list[str]) -> list[str]:
        """Those that did not answer."""
        told = await asyncio.gather(*(self.peers.post(path, "/switches/again") for path in paths))
        return [path for path, answer in zip(paths, told, strict=True) if answer is None]

    async def _tell_again(self, deaf: list[str]) -> None:
        until = time.monotonic() + TELL_FOR
        while deaf and time.monotonic() < until:
            await asyncio.sleep(AGAIN)
            deaf = await self._tell(deaf)

    # ── the state ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def events(self, alias: str, limit: int) -> list[Event]:
        """What was done, the newest first."""
        return await asyncio.to_thread(self._events, alias, limit)

    def _read(self) -> dict[str, Switch]:
        if not has_rows(self._url, "switches"):
            return {}
        from penstock.state.switches import read  # noqa: PLC0415 - the database's library, see places.py

        return read(self._places.store())

    def _write(self, after: Switch, event: Event) -> Switch:
        from penstock.state.switches import change  # noqa: PLC0415 - likewise

        return change(self._places.store(), after, event)

    def _events(self, alias: str, limit: int) -> list[Event]:
        if not has_rows(self._url, "events"):
            return []
        from penstock.state.switches import events  # noqa: PLC0415 - likewise

        return events(self._places.store(), alias, limit)
