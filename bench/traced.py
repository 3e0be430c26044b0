"""`python -m bench.traced OUTPUT MODULE [ARGUMENTS]`: the module under tracemalloc; SIGUSR2 compares with the SIGUSR2 before.

The second signal writes OUTPUT: a line `BYTES COUNT FILE:LINE` for each place that holds more than at the first one.
"""

from __future__ import annotations

import gc
import runpy
import signal
import sys
import tracemalloc
from pathlib import Path
from types import FrameType


def main() -> None:
    output, module, *arguments = sys.argv[1:]
    sys.argv = [module, *arguments]
    taken: list[tracemalloc.Snapshot] = []

    def compare(_number: int, _frame: FrameType | None) -> None:
        gc.collect()
        taken.append(tracemalloc.take_snapshot())
        if len(taken) == 2:
            grown = taken[1].compare_to(taken[0], "lineno")
            text = "".join(f"{one.size_diff} {one.count_diff} {one.traceback[0]}\n" for one in grown)
            unfinished = Path(output + ".new")
            unfinished.write_text(text)
            unfinished.rename(output)
        sys.stderr.write(f"snapshot {len(taken)}\n")

    tracemalloc.start()
    signal.signal(signal.SIGUSR2, compare)
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
