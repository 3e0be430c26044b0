"""W3C trace context: the caller's trace goes on, with this hop as a parent of the next."""

from __future__ import annotations

import os
import re

_TRACEPARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?")


def continued(traceparent: bytes | None) -> bytes:
    """The `traceparent` this hop sends on and answers with; empty where none came or it is malformed."""
    if traceparent is None:
        return b""
    found = _TRACEPARENT.fullmatch(traceparent)
    if found is None or found[1] == b"ff" or found[2] == b"0" * 32 or found[3] == b"0" * 16:
        return b""
    return b"00-" + found[2] + b"-" + os.urandom(8).hex().encode() + b"-" + found[4]
