"""Scenarios 1 and 2: what a request and a streamed chunk cost in CPU time of the proxy's processes."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from bench.processes import pinned
from bench.samples import Sample, Scenario
from bench.stage import LOAD_CPU, Runner, Stage

CHUNKS = 128
TIMES = ("latency_us", "first_chunk_us", "chunk_delay_us")
FEWEST = 20
"""A window with fewer answers or chunks than this says nothing."""


@dataclass(frozen=True)
class Traffic:
    scenario: Scenario
    connections: int
    order: str = ""
    streamed: bool = False


TRAFFIC = (
    Traffic(Scenario("request-1", "CPU per request, 1 connection, 2 KB body, 1 KB answer", "µs"), 1),
    Traffic(Scenario("request-32", "CPU per request, 32 connections, 2 KB body, 1 KB answer", "µs"), 32),
    Traffic(
        Scenario("chunk-paced", "CPU per streamed chunk, 32 streams, a chunk every 5 ms on each", "µs"),
        32,
        f"bench(chunks={CHUNKS},gap=5000)",
        streamed=True,
    ),
    Traffic(
        Scenario("chunk-asap", "CPU per streamed chunk, 32 streams, as fast as they go", "µs"),
        32,
        f"bench(chunks={CHUNKS},gap=0)",
        streamed=True,
    ),
)


def sample(slices: Sequence[Sample]) -> Sample:
    """One figure for a round from its slices: the CPU time of all over the units of all."""
    first = slices[0]
    bad = next((one for one in slices if one.fault), None)
    if bad is not None:
        return bad
    cpu, units = (sum(float(str(one.details[name])) for one in slices) for name in ("cpu_ns", "units"))
    times = {name: [one.details[name] for one in slices] for name in TIMES}
    return Sample(first.scenario, first.peer, first.round, cpu / 1000 / units, details={"units": units, **times})


def window(stage: Stage, runner: Runner, traffic: Traffic, round_number: int, seconds: float, warm: float) -> Sample:
    pids = runner.pids
    command = [str(stage.programs.load), "--port", str(runner.port)]
    command += ["--body", str(stage.request(traffic.order, stream=traffic.streamed))]
    command += ["--connections", str(traffic.connections), "--seconds", str(seconds), "--warm", str(warm)]
    if traffic.streamed:
        command += ["--stream", str(CHUNKS)]
    for pid in pids:
        command += ["--pid", str(pid)]
    name, peer = traffic.scenario.name, runner.peer.name
    run = subprocess.run(
        pinned(command, LOAD_CPU), capture_output=True, text=True, timeout=seconds + warm + 30, check=False
    )
    if run.returncode != 0:
        return Sample(name, peer, round_number, None, f"the load generator gave up: {run.stderr.strip()[-300:]}")
    seen = json.loads(run.stdout)
    units = seen["chunks"] if traffic.streamed else seen["requests"]
    fault = _fault(seen, units)
    if runner.pids != pids:
        fault = fault or "its processes changed during the window"
    value = None if fault else seen["cpu_ns"] / 1000 / units
    return Sample(name, peer, round_number, value, fault, seen | {"units": units})


def _fault(seen: dict[str, int], units: int) -> str:
    for trouble in ("failed", "not_200", "wrong"):
        if seen[trouble]:
            return f"{seen[trouble]} answers {trouble.replace('_', ' ')}"
    if seen["cpu_ns"] == 0:
        return "its processes got no CPU time at all: starved by the machine, or blocked"
    return f"only {units} requests or chunks in the window" if units < FEWEST else ""
