"""What a client still has to take of an answer: bytes that wait in this process, and those that wait in its kernel."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import struct
import termios


def owed(transport: asyncio.Transport) -> int:
    """Bytes that the client's machine has not acknowledged; what waits here alone where the kernel does not tell.

    Here alone it would seem that a slow client takes nothing while megabytes leave the kernel for it.
    """
    here = transport.get_write_buffer_size()
    sock = transport.get_extra_info("socket")
    if sock is None:
        return here
    with contextlib.suppress(OSError, ValueError):  # a connection that is gone already
        return here + int(struct.unpack("i", fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, b"\0\0\0\0"))[0])
    return here
