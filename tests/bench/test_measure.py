from __future__ import annotations

import os
import subprocess
import sys

from bench.processes import body

from bench import measure


def test_a_process_and_its_descendants_are_found_parents_first() -> None:
    inner = "import sys; print('up', flush=True); sys.stdin.read()"
    outer = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {inner!r}])"
    with subprocess.Popen([sys.executable, "-c", outer], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        found = measure.tree(process.pid)
        process.communicate()
    assert found[0] == process.pid
    assert len(found) == 2


def test_the_cpu_clock_of_another_process_counts_its_work() -> None:
    busy = "import sys; sum(range(3_000_000)); print('done', flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", busy], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert measure.cpu_seconds((process.pid,)) > 0
        process.communicate()


def test_memory_counts_at_least_what_was_touched() -> None:
    kept = bytearray(os.urandom(1)) * (8 << 20)
    seen = measure.memory((os.getpid(),))
    assert seen.resident >= seen.pss > len(kept)


def test_a_body_has_exactly_the_size_asked_for() -> None:
    for order in ("", "bench(chunks=128,gap=5000)", "bench(hold=stall,trace=1)"):
        assert len(body(order, stream=True)) == 2048
        assert len(body(order, stream=False)) == 2048
