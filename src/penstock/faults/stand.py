"""Where gateways under test come from: ours, a command's, or one that runs already; and what can be done to each."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from penstock.faults.engine import Engine
from penstock.faults.gateways import Gateway, Launched, Penstock, free_port, launched
from penstock.faults.scenario import Failed, Need, Scenario
from penstock.faults.script import HEALTHY
from penstock.faults.site import MODEL, Site, configuration, ending, engines, folder
from penstock.faults.turns import align

SETTLED = 45.0
"""Seconds a gateway that runs on has to answer again after a scenario: longer than breakers rest."""

_FRESH = 5.0
"""The same of one that was just started."""
_STARTS = 3


@dataclass(frozen=True, slots=True)
class Stand:
    """How a gateway is had for each scenario. With neither, it is Penstock's own."""

    launch: str = ""
    """A command that starts one, with places for addresses; each scenario starts it anew."""
    against: str = ""
    """The URL of one that runs; it is used for all, one after the other."""
    ports: tuple[int, int] = (0, 0)
    """Where A and B listen."""

    @property
    def allows(self) -> frozenset[Need]:
        """What can be done to this gateway on this machine."""
        allowed = set()
        if not self.against:
            allowed.add(Need.PROCESS)
        if not self.against and not self.launch:
            allowed.add(Need.PENSTOCK)
        if namespaces():
            allowed.add(Need.ROOT)
        if shutil.which("faketime"):
            allowed.add(Need.FAKETIME)
        return frozenset(allowed)

    @property
    def shared(self) -> bool:
        """Whether all scenarios meet the same process."""
        return bool(self.against)

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[Stand]:
        """The command started once: a stand whose scenarios all meet that process."""
        ports = (free_port(), free_port())
        async with folder() as place, AsyncExitStack() as life:
            async with engines(ports) as (a, b):
                process = await life.enter_async_context(self._running(a, b, place))
            yield Stand(against=process.url, ports=ports)

    @asynccontextmanager
    async def site(self, scenario: Scenario) -> AsyncIterator[Site]:
        """Engines and a gateway for one scenario."""
        async with folder() as place, engines(self.ports) as (a, b):
            if scenario.own:
                yield Site(a, b, Gateway(""), place)
                return
            if self.against:
                gateway = Gateway(self.against)
                await gateway.ready(MODEL, SETTLED)
                yield await _settled(a, b, gateway, place, SETTLED)
                return
            async with self._running(a, b, place) as process:
                yield await _settled(a, b, process, place, _FRESH)

    @asynccontextmanager
    async def _running(self, a: Engine, b: Engine, place: Path) -> AsyncIterator[Launched]:
        """A start of another gateway is no scenario: one that fails, over a port that somebody took, is tried again."""
        for left in range(_STARTS if self.launch else 1, 0, -1):
            process = self._launched(a, b, place)
            try:
                await process.start()
                await process.ready(MODEL)
                break
            except Failed:
                await process.kill()
                if left == 1:
                    raise
        async with ending(process):
            yield process

    def _launched(self, a: Engine, b: Engine, place: Path) -> Launched:
        if not self.launch:
            return Penstock(configuration(a.url, b.url, place), place)
        places = {"a": a.url.removeprefix("http://"), "b": b.url.removeprefix("http://"), "dir": str(place)}
        return launched(self.launch, {**places, "host": "127.0.0.1", "port": free_port()}, place)


async def _settled(a: Engine, b: Engine, gateway: Gateway, place: Path, patience: float) -> Site:
    """With empty journals: what it took to come up is no part of the scenario."""
    site = Site(a, b, gateway, place)
    if not gateway.ours:
        await _asks(site, patience)
    for engine in (a, b):
        await engine.until(lambda engine=engine: not engine.running, "an idle engine")  # type: ignore[misc]
        engine.requests.clear()
        engine.probes.clear()
        engine.aborts.clear()
        engine.answered = 0
        engine.script = HEALTHY
    site.turns = not gateway.ours and await align(site.url, MODEL, a, b)
    await site.settle()
    return site


async def _asks(site: Site, patience: float) -> None:
    """Until A is asked again, or the fault would not be met: a gateway that ran before may still avoid it."""
    until = time.monotonic() + patience
    while not site.a.requests and time.monotonic() < until:
        await site.ask(stream=False)
    if not site.a.requests:
        site.notes.append(f"A was not asked within {patience:g} s before it")


def namespaces() -> bool:
    """Whether namespaces of our own can be made here."""
    if os.geteuid() or not shutil.which("unshare"):
        return False
    tried = subprocess.run(["unshare", "--mount", "--net", "true"], capture_output=True, check=False, timeout=10)  # noqa: S607
    return tried.returncode == 0
