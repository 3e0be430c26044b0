"""Row 30: no local port is left for a connection to an engine."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from penstock.faults.gateways import Penstock
from penstock.faults.injectors.network import alone, beside, reached
from penstock.faults.scenario import Failed, Need, Scenario
from penstock.faults.seen import Outcome
from penstock.faults.site import Site, configuration, explicit

PORTS = 8
_RANGE = {"ipv4/ip_local_port_range": f"40000 {40000 + PORTS - 1}"}
_GATEWAY, _A, _B = 7000, 7001, 7002
_SCRIPT = json.dumps({"count": 1000, "gap": 0.05})
_SHORT = {"max_tokens": 2}
_START = 30.0


async def no_ports(site: Site) -> None:
    """All eight ports of the machine are taken: B answers for A, then 503 with Retry-After; no engine is blamed, both serve later."""
    async with _small(site) as one:
        # Connections that were closed keep their ports for a while, so there are at most eight for either engine.
        streams = [one.asking() for _ in range(2 * PORTS)]
        until = time.monotonic() + 10.0
        while (refused := await one.ask(stream=False, body=_SHORT)).outcome is Outcome.ANSWERED:
            if time.monotonic() > until:
                raise Failed(f"a refusal for want of a port was expected, seen {refused}")
            streams.append(one.asking())
        if explicit(refused, Outcome.REFUSED).status != 503 or not refused.headers.get("retry-after"):
            raise Failed(f"503 with Retry-After was expected, seen {refused}")
        await one.counted("penstock_fallback_total", 1, {"to": "b", "reason": "exhausted"}, at_least=True)
        await one.counted("penstock_exhausted_total", 2, {"what": "ports"}, at_least=True)
        if await one.metric("penstock_breaker_state"):
            raise Failed("closed breakers were expected: no engine has done anything wrong")
        await one.logged(event="out of ports", level="error")
        if (said := len(one.records(event="out of ports"))) > 2:
            raise Failed(f"a line of the log now and then was expected, seen {said}")
        for stream in streams:
            await stream.leave()
        until = time.monotonic() + 10.0
        while (seen := await one.ask(stream=False, body=_SHORT)).headers.get("x-penstock-backend") != "a":
            if time.monotonic() > until:
                raise Failed(f"A was expected again once its ports are free, seen {seen}")
            await asyncio.sleep(0.2)


@asynccontextmanager
async def _small(site: Site) -> AsyncIterator[Site]:
    """A gateway and two engines in a network with eight ports."""
    config = configuration(f"http://127.0.0.1:{_A}", f"http://127.0.0.1:{_B}", site.folder)
    config["listen"] = [f"127.0.0.1:{_GATEWAY}"]
    config["limits"] = {**config["limits"], "total": "60s"}
    for backend in config["backends"].values():
        backend["probe"] = "60s"
    holder = await asyncio.create_subprocess_exec(*alone(_RANGE), "sleep", "600")
    gateway = Penstock(config, site.folder, prefix=beside(holder.pid))
    engines: list[asyncio.subprocess.Process] = []
    try:
        await _made(holder.pid)
        engines = [await _engine(beside(holder.pid), port) for port in (_A, _B)]
        await gateway.start()
        await gateway.ready()
        async with reached(holder.pid, _GATEWAY) as url:
            gateway.url = url
            one = Site(site.a, site.b, gateway, site.folder)
            await one.settle()
            yield one
            await gateway.stop()
    finally:
        await gateway.kill()
        for process in (*engines, holder):
            if process.returncode is None:
                process.kill()
            await process.wait()


async def _made(pid: int) -> None:
    """Until the shell in front of it has set up the network and become the process."""
    until = time.monotonic() + _START
    while time.monotonic() < until:
        with open(f"/proc/{pid}/comm", encoding="ascii") as name:  # noqa: ASYNC230, PTH123 - a few bytes of the kernel's
            if name.read().strip() == "sleep":
                return
        await asyncio.sleep(0.02)
    raise Failed("a network of its own was expected")


async def _engine(prefix: Sequence[str], port: int) -> asyncio.subprocess.Process:
    options = ("--model", "m", "--port", str(port), "--script", _SCRIPT)
    process = await asyncio.create_subprocess_exec(
        *(*prefix, sys.executable, "-P", "-m", "penstock.faults.engine", *options), stdout=asyncio.subprocess.PIPE
    )
    if process.stdout is not None:
        async with asyncio.timeout(_START):
            await process.stdout.readline()
    return process


_NEEDS = frozenset({Need.PROCESS, Need.PENSTOCK, Need.ROOT})
SCENARIOS = (Scenario(30, "ports", no_ports, _NEEDS, own=True),)
