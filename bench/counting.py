"""How many Python calls one request costs, function by function: cProfile around the gateway, divided by the requests served.

The counts are exact and the same on every machine, so they show what a change did when times are too noisy to. The times are not to be
believed: cProfile makes every call several times as dear, small functions most of all.
"""

from __future__ import annotations

import pstats
import signal
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from bench import traffic
from bench.build import Programs
from bench.peers import Launch, Peer, Site
from bench.stage import stage

OFTEN = 0.5
"""Functions called less than so often per unit belong to the start of the process."""
DRAIN_SECONDS = 30


@dataclass(frozen=True)
class Calls:
    function: str
    calls: float
    own_us: float
    under_us: float


def count(peer: Peer, kind: traffic.Traffic, programs: Programs, seconds: float) -> tuple[list[Calls], float]:
    """Functions by their own time, each per request (or chunk), and how many requests or chunks there were."""
    with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        output = folder / "calls"

        def launch(site: Site) -> Launch:
            options = peer.launch(site).argv[2:]
            return Launch((sys.executable, "-m", "cProfile", "-o", str(output), "-m", "penstock.gateway", *options))

        with stage(programs, [replace(peer, launch=launch)], folder) as on:
            sample = traffic.window(on, on.runners[0], kind, 0, seconds, 0)
            on.runners[0].process.send_signal(signal.SIGTERM)
            on.runners[0].process.wait(DRAIN_SECONDS)
        if sample.fault:
            message = f"counting calls of {peer.name}: {sample.fault}"
            raise SystemExit(message)
        units = float(str(sample.details["units"]))
        return _per_unit(output, units), units


def _per_unit(output: Path, units: float) -> list[Calls]:
    found = []
    for (file, line, name), (_, calls, own, under, _) in pstats.Stats(str(output)).stats.items():  # type: ignore[attr-defined]
        if calls / units >= OFTEN:
            place = f"{name} ({'/'.join(file.split('/')[-2:])}:{line})" if line else name
            found.append(Calls(place, calls / units, own / units * 1e6, under / units * 1e6))
    return sorted(found, key=lambda one: one.own_us, reverse=True)
