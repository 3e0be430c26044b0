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
"""Functions called less often than this per request are left out of the list."""
REPOSITORY = Path(__file__).parent.parent
DRAIN_SECONDS = 60


@dataclass(frozen=True)
class Calls:
    function: str
    calls: float
    own_us: float
    under_us: float


def count(peer: Peer, kind: traffic.Traffic, programs: Programs, seconds: float) -> tuple[list[Calls], float]:
    """Functions by their own time, each per request (or chunk), and how many requests or chunks there were.

    Starting and stopping makes calls too; a second process that serves nothing says how many, and they are taken away.
    """
    idle, _ = _run(peer, kind, programs, 0)
    busy, units = _run(peer, kind, programs, seconds)
    found = []
    for function, (calls, own, under) in busy.items():
        before = idle.get(function, (0, 0.0, 0.0))
        each = (calls - before[0]) / units
        if each >= OFTEN:
            found.append(Calls(function, each, (own - before[1]) / units * 1e6, (under - before[2]) / units * 1e6))
    return sorted(found, key=lambda one: one.own_us, reverse=True), units


def _run(
    peer: Peer, kind: traffic.Traffic, programs: Programs, seconds: float
) -> tuple[dict[str, tuple[int, float, float]], float]:
    with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        output = folder / "calls"

        def launch(site: Site) -> Launch:
            options = peer.launch(site).argv[2:]
            command = (sys.executable, "-m", "bench.counted", str(output), "penstock.gateway", *options)
            return Launch(command, {"PYTHONPATH": str(REPOSITORY)})

        units = 0.0
        with stage(programs, [replace(peer, launch=launch)], folder) as on:
            if seconds:
                sample = traffic.window(on, on.runners[0], kind, 0, seconds, 0)
                if sample.fault:
                    message = f"counting calls of {peer.name}: {sample.fault}"
                    raise SystemExit(message)
                units = float(str(sample.details["units"]))
            on.runners[0].process.send_signal(signal.SIGTERM)
            on.runners[0].process.wait(DRAIN_SECONDS)
        return _functions(output), units


def _functions(output: Path) -> dict[str, tuple[int, float, float]]:
    found = {}
    for (file, line, name), (_, calls, own, under, _) in pstats.Stats(str(output)).stats.items():  # type: ignore[attr-defined]
        place = f"{name} ({'/'.join(file.split('/')[-2:])}:{line})" if line else name
        found[place] = (calls, own, under)
    return found
