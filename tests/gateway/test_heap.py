"""A body that comes and goes is not paid for with page faults each time."""

from __future__ import annotations

import platform
import resource
import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
from penstock.gateway import heap
if sys.argv[1] == "kept":
    assert heap.keep()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    bytes(100_000)
before = faults()
for _ in range(200):
    one = bytes(100_000)
    two = one + b"x"
    del one, two
print(faults() - before)
"""


def faults(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True, timeout=60)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's own allocator is what is set")
def test_memory_of_bodies_is_kept_at_hand() -> None:
    assert resource.getpagesize() <= 65536
    assert faults("kept") < 100 < faults("as it is")
