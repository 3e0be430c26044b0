"""Running canaries, watched by the first worker: what ended on all workers is collected, judged, and acted on."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec
import structlog

from penstock.errors import PenstockError
from penstock.gateway import orders
from penstock.gateway.canary import Figures
from penstock.gateway.switched import dead
from penstock.gateway.window import Window
from penstock.state.switch import Canary, Switch

if TYPE_CHECKING:
    from penstock.gateway.switchboard import Switchboard

log = structlog.stdlib.get_logger("penstock.switch")

LOOK = 0.5
"""Seconds between two looks."""


class Progress(msgspec.Struct, frozen=True):
    """A running canary in numbers."""

    canary: Figures
    old: Figures
    seen: int
    """Answers that its step has seen; of the old path while the share is 0."""
    held: float
    """Seconds its step has held."""


class Watch:
    """What one gateway knows of its running canaries."""

    def __init__(self, board: Switchboard) -> None:
        self._board = board
        self._windows: dict[str, Window] = {}
        self._began: dict[tuple[str, float], float] = {}
        """Monotonic time at which a step began, by canary and wall time."""
        self._running = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to watch."""
        self._task = asyncio.create_task(self._run(), name="canaries")
        self._task.add_done_callback(_ended)

    async def stop(self) -> None:
        """End it."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def follow(self, switches: Mapping[str, Switch]) -> None:
        """These are the switches now; what is known of canaries that go on is kept."""
        canaries = [one.canary for one in switches.values() if one.canary is not None]
        now, wall = time.monotonic(), time.time()
        self._windows = {one.id: self._windows.get(one.id) or Window(one.rules) for one in canaries}
        for one in canaries:
            self._windows[one.id].rules = one.rules
        self._began = {
            (one.id, one.since): self._began.get((one.id, one.since), now - max(0.0, wall - one.since))
            for one in canaries
        }
        (self._running.set if canaries else self._running.clear)()

    def progress(self, canary: Canary) -> Progress | None:
        """How far a running canary has come; None for one that runs no more."""
        window, now = self._windows.get(canary.id), time.monotonic()
        if window is None:
            return None
        new, old = window.figures(now)
        seen, held = self._seen(window, canary, now)
        return Progress(new, old, seen, held)

    def _seen(self, window: Window, canary: Canary, now: float) -> tuple[int, float]:
        """Answers since its step began, and for how many seconds it has held."""
        began = self._began.get((canary.id, canary.since), now)
        counting = window.canary if canary.percent else window.old
        return sum(one.at >= began for one in counting), now - began

    async def _run(self) -> None:
        while True:
            await self._running.wait()
            if not self._board.line.draining:
                await self._look()
            await asyncio.sleep(LOOK)

    async def _look(self) -> None:
        await self._collect()
        for alias in list(self._board.switches):
            # Looked up each time: while one was decided, somebody may have ended another.
            switch = self._board.switches.get(alias)
            window = self._windows.get(switch.canary.id) if switch is not None and switch.canary is not None else None
            if switch is None or switch.canary is None or window is None:
                continue
            try:
                await self._decide(switch, switch.canary, window)
            except PenstockError as error:
                # Somebody was faster, the state cannot be written, or we are draining: look again in a moment.
                log.warning("a canary could not be moved", alias=switch.alias, problem=error.sentence())
                await self._board.again()

    async def _collect(self) -> None:
        peers = self._board.peers
        raw = await asyncio.gather(*(peers.post(path, "/switches/ended") for path in peers.paths))
        told = [self._board.ended()]
        for one in raw:
            if one is not None:
                with contextlib.suppress(msgspec.DecodeError):
                    told.append(msgspec.json.decode(one, type=type(told[0])))
        for ended in told:
            for identity, window in self._windows.items():
                window.add(ended.canary.get(identity, ()), ended.old.get(identity, ()))

    async def _decide(self, switch: Switch, canary: Canary, window: Window) -> None:
        """An order that rests on this switch; where it is another one by now, the state refuses it."""
        board, order, gateway = self._board, self._board.order, "gateway"
        gone = next((why for _, why in dead(board.line.config, {switch.alias: switch})), "")
        now = time.monotonic()
        why = gone or window.verdict(now)
        if why:
            await board.back(switch.alias, lambda _: orders.stop(switch, who=gateway, reason=why))
            return
        seen, held = self._seen(window, canary, now)
        if not canary.every or held < canary.every or seen < canary.rules.min_requests:
            return
        reason = f"{seen} answers in {held:.0f} s, none of the rules broken"
        if not canary.last:
            await order(switch.alias, lambda _: orders.step(switch, canary, now=time.time(), reason=reason))
        elif canary.promote:
            await order(switch.alias, lambda _: orders.promote(switch, who=gateway, reason=reason))


def _ended(task: asyncio.Task[None]) -> None:
    """A canary that nobody watches any more must not go unnoticed."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.critical("canaries are no longer watched: stop them, and start the gateway anew", exc_info=error)
