"""`python -m bench.counted OUTPUT MODULE [ARGUMENTS]`: the module under cProfile, timed in CPU time instead of wall time.

`python -m cProfile` measures wall time, in which every function of a process that shares its processor looks slow by chance.
"""

from __future__ import annotations

import cProfile
import runpy
import sys
import time


def main() -> None:
    output, module, *arguments = sys.argv[1:]
    sys.argv = [module, *arguments]
    profile = cProfile.Profile(time.thread_time_ns, 1e-9)
    try:
        profile.runcall(runpy.run_module, module, run_name="__main__", alter_sys=True)
    finally:
        profile.dump_stats(output)


if __name__ == "__main__":
    main()
