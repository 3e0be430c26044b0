"""Scenarios 1 and 2: what a request and a streamed chunk cost in CPU time of the proxy's processes, and the time that a proxy adds."""

from __future__ import annotations

import json
import statistics
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, replace

from bench.processes import pinned
from bench.samples import Sample, Scenario
from bench.stage import LOAD_CPU, Runner, Stage

CHUNKS = 128
LATENCY, FIRST, DELAY = TIMES = ("latency_us", "first_chunk_us", "chunk_delay_us")
FEWEST = 20
"""A window with fewer answers or chunks than this says nothing."""
SIZE = 2048
LARGE = 100 * 1024


@dataclass(frozen=True)
class Traffic:
    """One kind of load. Its figure is CPU time, or the median of the `time` that is named."""

    scenario: Scenario
    connections: int
    order: str = ""
    chunks: int = 0
    """Of each streamed answer; 0 asks for whole ones."""
    size: int = SIZE
    time: str = ""
    spread: float = 0.0
    """Seconds over which the connections begin: streams that begin together would go on beginning together."""
    delay: Scenario | None = None
    """The same windows also tell how long a chunk travels."""

    @property
    def scenarios(self) -> tuple[Scenario, ...]:
        return (self.scenario,) if self.delay is None else (self.scenario, self.delay)

    @property
    def timed(self) -> bool:
        """Whether it must also be measured without a proxy, because what a proxy adds is the figure."""
        return bool(self.time) or self.delay is not None


def _requests(connections: int) -> Traffic:
    many = "1 connection" if connections == 1 else f"{connections} connections"
    return Traffic(
        Scenario(f"request-{connections}", f"CPU per request, {many}, 2 KB body, 1 KB answer", "µs"), connections
    )


TRAFFIC = (
    _requests(1),
    _requests(32),
    _requests(256),
    Traffic(
        Scenario("request-100k", "CPU per request, 32 connections, 100 KB body, 1 KB answer", "µs"), 32, size=LARGE
    ),
    Traffic(
        Scenario("chunk-paced", "CPU per streamed chunk, 32 streams, a chunk every 5 ms on each", "µs"),
        32,
        f"bench(chunks={CHUNKS},gap=5000)",
        CHUNKS,
        delay=Scenario("chunk-delay", "Time added to each of these chunks on its way from engine to client", "µs"),
    ),
    Traffic(
        Scenario("chunk-asap", "CPU per streamed chunk, 32 streams, as fast as they go", "µs"),
        32,
        f"bench(chunks={CHUNKS},gap=0)",
        CHUNKS,
    ),
    Traffic(
        Scenario("first-token-1", "Time added to the first token, one stream at a time", "µs"),
        1,
        "bench(chunks=4,gap=0)",
        4,
        time=FIRST,
    ),
    Traffic(
        Scenario("first-token-32", "Time added to the first token, 32 streams, a chunk every 5 ms on each", "µs"),
        32,
        "bench(chunks=16,gap=5000)",
        16,
        time=FIRST,
        spread=0.08,
    ),
)
WARMING = tuple(one for one in TRAFFIC if one.scenario.name in {"request-32", "chunk-paced"})
"""What a process is warmed up with before its memory is read."""


def samples(traffic: Traffic, slices: Sequence[Sample]) -> list[Sample]:
    """The figures of a round from its slices: the CPU time of all over the units of all, or the median of their medians."""
    bad = next((one for one in slices if one.fault), None)
    if bad is not None:
        return [replace(bad, scenario=scenario.name) for scenario in traffic.scenarios]
    details: dict[str, object] = {name: [one.details[name] for one in slices] for name in TIMES}
    details["shown"] = traffic.time or (DELAY if traffic.chunks else LATENCY)
    details["units"] = sum(float(str(one.details["units"])) for one in slices)
    value = _time(slices, traffic.time) if traffic.time else _cpu(slices)
    found = [replace(slices[0], value=value, details=details)]
    if traffic.delay is not None:
        found.append(replace(slices[0], scenario=traffic.delay.name, value=_time(slices, DELAY), details=details))
    return found


def added(found: Sequence[Sample], direct: Sequence[Sample]) -> list[Sample]:
    """The same figures less what the way without a proxy took in the same round; CPU times stay as they are."""
    without = {one.scenario: one.value for one in direct}
    return [
        replace(one, value=one.value - base, details=one.details | {"with": one.value})
        if one.value is not None and (base := without.get(one.scenario)) is not None
        else one
        for one in found
    ]


def times(traffic: Traffic, found: Sequence[Sample]) -> list[Sample]:
    """Those of them that are times: what is measured without a proxy has no proxy's CPU time."""
    names = ({traffic.scenario.name} if traffic.time else set()) | ({traffic.delay.name} if traffic.delay else set())
    return [one for one in found if one.scenario in names]


def _cpu(slices: Sequence[Sample]) -> float:
    cpu, units = (sum(float(str(one.details[name])) for one in slices) for name in ("cpu_ns", "units"))
    return cpu / 1000 / units


def _time(slices: Sequence[Sample], name: str) -> float:
    windows = (one.details[name] for one in slices)
    return statistics.median(float(window["p50"]) for window in windows if isinstance(window, dict))


def window(stage: Stage, runner: Runner, traffic: Traffic, round_number: int, seconds: float, warm: float) -> Sample:
    pids = runner.pids
    command = [str(stage.programs.load), "--port", str(runner.port)]
    command += ["--body", str(stage.request(traffic.order, stream=bool(traffic.chunks), size=traffic.size))]
    command += ["--connections", str(traffic.connections), "--seconds", str(seconds), "--warm", str(warm)]
    if traffic.chunks:
        command += ["--stream", str(traffic.chunks), "--spread", str(traffic.spread)]
    for pid in pids:
        command += ["--pid", str(pid)]
    name, peer = traffic.scenario.name, runner.peer.name
    run = subprocess.run(
        pinned(command, LOAD_CPU), capture_output=True, text=True, timeout=seconds + warm + 30, check=False
    )
    if run.returncode != 0:
        return Sample(name, peer, round_number, None, f"the load generator gave up: {run.stderr.strip()[-300:]}")
    seen = json.loads(run.stdout)
    units = seen["chunks"] if traffic.chunks else seen["requests"]
    fault = _fault(seen, units, traffic.time)
    if runner.pids != pids:
        fault = fault or "its processes changed during the window"
    value = None if fault else seen["cpu_ns"] / 1000 / units
    return Sample(name, peer, round_number, value, fault, seen | {"units": units})


def _fault(seen: dict[str, int], units: int, time: str) -> str:
    for trouble in ("failed", "not_200", "wrong"):
        if seen[trouble]:
            return f"{seen[trouble]} answers {trouble.replace('_', ' ')}"
    if seen["cpu_ns"] == 0:
        return "its processes got no CPU time at all: starved by the machine, or blocked"
    if units < FEWEST:
        return f"only {units} requests or chunks in the window"
    return "no stream began in the window" if time and not seen[time] else ""
