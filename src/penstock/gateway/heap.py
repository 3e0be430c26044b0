"""How the C library's allocator keeps memory: a request's body and its copies come and go thousands of times a second.

By default glibc gives the end of its heap back as soon as 128 KiB are free there, so that every body of that order is paid
for with page faults, again and again. Elsewhere than on glibc nothing is done.
"""

from __future__ import annotations

import ctypes
import platform

KEPT = 2 * 1024 * 1024
"""Bytes free at the end of the heap that are kept."""
STEP = 512 * 1024
"""Bytes by which the heap grows beyond what is asked for."""
MAPPED = 1024 * 1024
"""Bytes from which a piece is mapped for itself, and given back at once."""
# <malloc.h>
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3


def keep() -> bool:
    """Keep up to two megabytes at hand, in this process; whether that could be said."""
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    wanted = ((_MMAP_THRESHOLD, MAPPED), (_TRIM_THRESHOLD, KEPT), (_TOP_PAD, STEP))
    return all(mallopt(ctypes.c_int(name), ctypes.c_int(value)) for name, value in wanted)
