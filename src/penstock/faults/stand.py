"""Where gateways under test come from: ours, a command's, or one that runs already; and what can be done to each."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from penstock.faults.engine import Engine
from penstock.faults.gateways import Gateway, Launched, Penstock, free_port, launched
from penstock.faults.scenario import Need, Scenario
from penstock.faults.script import HEALTHY
from penstock.faults.site import MODEL, Site, configuration, engines, folder, running

SETTLED = 45.0
"""Seconds a gateway that runs on has to answer again after a scenario: longer than breakers rest."""


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
    async def site(self, scenario: Scenario) -> AsyncIterator[Site]:
        """Engines and a gateway for one scenario."""
        async with folder() as place, engines(self.ports) as (a, b):
            if scenario.own:
                yield Site(a, b, Gateway(""), place)
                return
            if self.against:
                gateway = Gateway(self.against)
                await gateway.ready(MODEL, SETTLED)
                yield await _settled(a, b, gateway, place)
                return
            async with running(self._launched(a, b, place)) as process:
                yield await _settled(a, b, process, place)

    def _launched(self, a: Engine, b: Engine, place: Path) -> Launched:
        if not self.launch:
            return Penstock(configuration(a.url, b.url, place), place)
        places = {"a": a.url.removeprefix("http://"), "b": b.url.removeprefix("http://"), "dir": str(place)}
        return launched(self.launch, {**places, "host": "127.0.0.1", "port": free_port()}, place)


async def _settled(a: Engine, b: Engine, gateway: Gateway, place: Path) -> Site:
    """With empty journals: what it took to come up is no part of the scenario."""
    site = Site(a, b, gateway, place)
    for engine in (a, b):
        await engine.until(lambda engine=engine: not engine.running, "an idle engine")  # type: ignore[misc]
        engine.requests.clear()
        engine.probes.clear()
        engine.aborts.clear()
        engine.answered = 0
        engine.script = HEALTHY
    await site.settle()
    return site


def namespaces() -> bool:
    """Whether namespaces of our own can be made here."""
    if os.geteuid() or not shutil.which("unshare"):
        return False
    tried = subprocess.run(["unshare", "--mount", "--net", "true"], capture_output=True, check=False, timeout=10)  # noqa: S607
    return tried.returncode == 0
