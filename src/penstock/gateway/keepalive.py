"""When the kernel gives up a connection to an engine whose machine went away without a word: a pulled cable, a lost node.

Limits in time end every wait of ours, but the one for a whole answer may be ten minutes; nothing on the wire says that
nobody is there any more unless somebody asks. Two options because each covers what the other does not: probes go out on a
connection that is silent, the user timeout bounds how long what we sent may go unconfirmed. Set once per connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket

SILENCE = 20
"""Seconds without any sign of life of the other machine; an engine that computes in silence still confirms probes."""
_IDLE = 5
_EVERY = 5
_PROBES = (SILENCE - _IDLE) // _EVERY
_OPTIONS = {
    "TCP_KEEPIDLE": _IDLE,
    "TCP_KEEPALIVE": _IDLE,  # macOS' name
    "TCP_KEEPINTVL": _EVERY,
    "TCP_KEEPCNT": _PROBES,
    "TCP_USER_TIMEOUT": SILENCE * 1000,
}
_SET = tuple((number, value) for name, value in _OPTIONS.items() if (number := getattr(socket, name, None)) is not None)


def arm(transport: asyncio.BaseTransport) -> None:
    """Have the kernel watch the other end; where an option is not to be had, limits in time remain."""
    raw: socket.socket | None = transport.get_extra_info("socket")
    if raw is None or raw.family not in {socket.AF_INET, socket.AF_INET6}:
        return
    with contextlib.suppress(OSError):  # it may be over already; whoever waits on it is told by its transport
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for number, value in _SET:
            raw.setsockopt(socket.IPPROTO_TCP, number, value)
