"""Engines that fail at random: mostly healthy, now and then in every way that a scripted engine can be told to."""

from __future__ import annotations

import random
from collections.abc import Callable

from penstock.faults.engine import Engine
from penstock.faults.script import HEALTHY, Script
from penstock.faults.wire import Exchange

FAULTY = 0.08
"""Share of requests that meet a fault; more would keep the breakers open, and nothing behind them would be tried."""

Mood = Callable[[random.Random], Script]

HEALTHS: tuple[Mood, ...] = (
    lambda _: HEALTHY,
    lambda _: HEALTHY,
    lambda dice: Script(gap=dice.uniform(0.001, 0.02)),
    lambda dice: Script(first=dice.uniform(0.01, 0.3), late_head=dice.random() < 0.5),
    lambda _: Script(close=True),
)
FAULTS: tuple[Mood, ...] = (
    lambda _: Script(status=500),
    lambda _: Script(status=503),
    lambda _: Script(status=429, retry_after="0"),
    lambda _: Script(status=429),
    lambda _: Script(status=400, message="This model's maximum context length is 4096 tokens."),
    lambda _: Script(reset=True),
    lambda _: Script(silent=True),
    lambda dice: Script(stall_after=dice.randrange(8)),
    lambda dice: Script(cut_after=dice.randrange(10), cut="rst"),
    lambda dice: Script(cut_after=dice.randrange(10), cut="fin"),
    lambda dice: Script(cut_after=dice.randrange(10), cut="eos"),
    lambda dice: Script(malformed_after=dice.randrange(10)),
    lambda dice: Script(error_after=dice.randrange(10)),
    lambda dice: Script(truncate=dice.randrange(1, 200)),
    lambda dice: Script(cut_json=dice.randrange(1, 200)),
    lambda _: Script(body="<html><body>502 Bad Gateway</body></html>"),
)
"""Positions are within the answer's tokens or bytes, or a little behind them: then nothing happens."""


class Moody(Engine):
    """Draws a script for each request."""

    def __init__(self, models: tuple[str, ...], dice: random.Random) -> None:
        super().__init__(models)
        self._dice = dice
        self.faults = 0
        """Requests that were to meet one."""

    async def _ask(self, exchange: Exchange) -> bool:
        faulty = self._dice.random() < FAULTY
        self.faults += faulty
        # taken again before anybody else runs
        self.next.append(self._dice.choice(FAULTS if faulty else HEALTHS)(self._dice))
        return await super()._ask(exchange)
