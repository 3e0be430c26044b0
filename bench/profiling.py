"""Where the gateway's time goes: py-spy over its worker while a scenario's load runs, as a flat list of functions.

py-spy reads the process from outside, so the gateway runs as it is. Root, or `kernel.yama.ptrace_scope=0`, is needed.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from bench import measure, traffic
from bench.build import Programs
from bench.peers import Peer
from bench.processes import pinned
from bench.samples import Sample
from bench.stage import LOAD_CPU, Runner, Stage, stage

PY_SPY = Path(__file__).parent / ".peers" / "py-spy" / "bin" / "py-spy"
RATE = 500
"""Samples a second: enough for a percent over ten seconds, and little enough not to be the load itself."""
WAITING = ("Condition.wait", "wait (threading.py")


@dataclass(frozen=True)
class Profile:
    own: Counter[str]
    """Samples in which the function itself ran."""
    under: Counter[str]
    """Samples in which it stood anywhere on the stack."""
    total: int
    user: float
    system: float
    sample: Sample


def profile(peer: Peer, kind: traffic.Traffic, programs: Programs, seconds: float, *, native: bool) -> Profile:
    if not PY_SPY.exists():
        message = "profiling: no py-spy; run bench/install"
        raise SystemExit(message)
    with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        with stage(programs, [peer], folder) as on:
            return _profile(on, on.runners[0], kind, seconds, native=native)


def _profile(on: Stage, runner: Runner, kind: traffic.Traffic, seconds: float, *, native: bool) -> Profile:
    traffic.window(on, runner, kind, 0, 0.5, 0.5)  # everything imported and warm
    worker = max(runner.pids, key=lambda pid: measure.cpu_seconds((pid,)))
    stacks = on.directory / "stacks"
    command = [str(PY_SPY), "record", "--pid", str(worker), "--format", "raw", "--output", str(stacks), "--nonblocking"]
    command += ["--rate", str(RATE), "--duration", str(round(seconds)), *(["--native"] if native else [])]
    if native:
        command.remove("--nonblocking")  # a native stack can only be read from a process that stands still
    spy = subprocess.Popen(pinned(command, LOAD_CPU), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    before = measure.user_and_system((worker,))
    sample = traffic.window(on, runner, kind, 0, seconds, 0)
    after = measure.user_and_system((worker,))
    _, said = spy.communicate(timeout=seconds + 60)
    if spy.returncode != 0:
        message = f"profiling {runner.peer.name}: py-spy failed: {said.strip()[-800:]}"
        raise SystemExit(message)
    own, under = _count(stacks.read_text())
    return Profile(own, under, own.total(), after[0] - before[0], after[1] - before[1], sample)


def _count(stacks: str) -> tuple[Counter[str], Counter[str]]:
    """From lines of `outer;inner;innermost COUNT`."""
    own: Counter[str] = Counter()
    under: Counter[str] = Counter()
    for line in stacks.splitlines():
        frames, _, count = line.rpartition(" ")
        functions = [_function(frame) for frame in frames.split(";")]
        if any(frame.startswith(WAITING) for frame in functions):
            continue  # a thread at rest, which py-spy cannot always tell from a busy one
        own[functions[-1]] += int(count)
        for function in set(functions):
            under[function] += int(count)
    return own, under


def _function(frame: str) -> str:
    """`name (some/where/module.py:12)` as `name (where/module.py)`: lines of one function belong together."""
    name, bracket, place = frame.partition(" (")
    path = place.rstrip(")").rpartition(":")[0] or place.rstrip(")")
    return f"{name} ({'/'.join(path.split('/')[-2:])})" if bracket else name
