"""Scenario 3: what a thousand open, idle streams cost in memory, each peer started fresh and alone."""

from __future__ import annotations

import json
import select
import subprocess
import time
from collections.abc import Iterator

from bench import measure, traffic
from bench.processes import running
from bench.samples import Sample, Scenario
from bench.stage import LOAD_CPU, Runner, Stage

STREAMS = 1_000
OPEN_SECONDS = 30.0
SETTLE_SECONDS = 1.0

RESIDENT = Scenario("resident-idle", "Resident memory after the first answer, largest process", "MB", compared=False)
STREAM = Scenario(
    "stream-memory", f"Memory per idle stream, {STREAMS:,} open (PSS of all processes)", "KiB", compared=False
)
IDLE_CPU = Scenario("stream-cpu", f"CPU used while {STREAMS:,} streams are open and silent", "ms/s", compared=False)
SCENARIOS = (RESIDENT, STREAM, IDLE_CPU)


def samples(stage: Stage, runner: Runner, round_number: int) -> Iterator[Sample]:
    peer = runner.peer.name
    time.sleep(SETTLE_SECONDS)
    fresh = measure.memory(runner.pids)
    yield Sample(RESIDENT.name, peer, round_number, fresh.resident / 1e6, details={"pss": fresh.pss})

    # Warm first: buffers that every process of its kind allocates once are not the price of a stream.
    for warm_up in traffic.WARMING:
        traffic.window(stage, runner, warm_up, round_number, 0.5, 0.2)
    time.sleep(SETTLE_SECONDS)
    base = measure.memory(runner.pids)
    command = holding(stage, runner)
    log = stage.directory / "hold.log"
    with running(command, cpu=LOAD_CPU, log=log, stdout=subprocess.PIPE) as load:
        count = opened(load)
        time.sleep(SETTLE_SECONDS)
        held = measure.memory(runner.pids)
        begin, cpu = time.monotonic(), measure.cpu_seconds(runner.pids)
        time.sleep(SETTLE_SECONDS)
        busy = (measure.cpu_seconds(runner.pids) - cpu) / (time.monotonic() - begin) * 1000
    fault = "" if count == STREAMS else f"only {count} of {STREAMS} streams opened: {log.read_text()[-200:].strip()}"
    details: dict[str, object] = {"base_pss": base.pss, "held_pss": held.pss, "opened": count}
    each = (held.pss - base.pss) / STREAMS / 1024
    yield Sample(STREAM.name, peer, round_number, None if fault else each, fault, details)
    yield Sample(IDLE_CPU.name, peer, round_number, None if fault else busy, fault)


def holding(stage: Stage, runner: Runner) -> list[str]:
    """The command that opens the streams and holds them until its stdin ends."""
    command = [str(stage.programs.load), "--port", str(runner.port), "--connections", str(STREAMS), "--hold"]
    body = stage.request("bench(hold=stall)", stream=True)
    return [*command, "--seconds", str(OPEN_SECONDS), "--body", str(body)]


def opened(load: subprocess.Popen[str]) -> int:
    """How many streams it opened, once it says so."""
    assert load.stdout is not None  # noqa: S101 - it was started with a pipe
    if not select.select([load.stdout], [], [], OPEN_SECONDS + 5)[0]:
        return 0
    line = load.stdout.readline()
    return int(json.loads(line)["open"]) if line else 0
