"""What becomes of a connection for which this process has hardly a descriptor left: a word and an end, never silence.

The kernel gives out the lowest free number, so the number of a new socket says how many are in use, whoever uses them:
nothing has to be counted. Below the limit some are spared: of clients' connections a quarter, so that an engine can be
asked for those who are in; of those to engines a few, so that the next client can still be told why not.
"""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

import structlog
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from penstock.errors import Exhausted, Overloaded
from penstock.protocols import refusal
from penstock.protocols.table import face_of

if TYPE_CHECKING:
    from penstock.gateway.line import Line

log = structlog.stdlib.get_logger("penstock.room")

SPARED = 16
"""Descriptors that no connection gets: the log, the state, the admin socket, names to look up."""
TURNED = 6
"""Clients that are turned away at the same time; one more takes the place of the one that has been silent for longest."""
QUIET = 10.0
"""Seconds between two lines of the log about the same thing."""
_HEAD = 16 * 1024
_WORD = 1.0
"""Seconds a client that is turned away has to say what it wants and to read the answer."""


OURS = {
    errno.EMFILE: "descriptors",
    errno.ENFILE: "descriptors",
    errno.EADDRNOTAVAIL: "ports",
    errno.ENOBUFS: "memory",
    errno.ENOMEM: "memory",
}
"""What a connection to an engine fails by that is no fault of the engine."""


def raise_limit() -> None:
    """As many descriptors as this user's processes may have: the usual soft limit is one for interactive shells."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def exhausted(what: str) -> Exhausted:
    """The fault of an attempt for which there was none left."""
    fault = Exhausted(f"no connection: this machine has no {what} left", retry_after=1)
    fault.what = what
    return fault


def scarce(transport: asyncio.BaseTransport) -> bool:
    """Whether a connection to an engine has one of the descriptors that are spared."""
    return bool(transport.get_extra_info("socket").fileno() >= _limit() - SPARED)


def _limit() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft


class Room:
    """Descriptors of this process, and how often one was missing."""

    def __init__(self, count: Callable[[str], None]) -> None:
        self._count = count
        self._said: dict[str, float] = {}
        self._turned: deque[TurnedAway] = deque()
        self.full = False
        """A client was turned away since this was asked last."""
        self.look()

    def look(self) -> None:
        """Take the limit as it is now; somebody may change it. Called now and then."""
        self.limit = _limit()
        self._clients = self.limit - max(SPARED, self.limit // 4)
        try:
            os.close(os.dup(0))
        except OSError:
            self.missing("descriptors")

    def takes(self, transport: asyncio.BaseTransport) -> bool:
        """Whether a client's connection may stay."""
        return bool(transport.get_extra_info("socket").fileno() < self._clients)

    def missing(self, what: str) -> None:
        """One was not to be had: counted each time, said once in a while."""
        self._count(what)
        self.full = self.full or what == "descriptors"
        now = time.monotonic()
        if now - self._said.get(what, -QUIET) >= QUIET:
            self._said[what] = now
            log.error("out of %s", what, limit=self.limit, hint=_HINTS[what])

    def turn_away(self, transport: asyncio.Transport, line: Line) -> None:
        """Answer 503 as soon as it has said what it wants."""
        self.missing("descriptors")
        turned = TurnedAway(transport, line)
        transport.set_protocol(turned)
        self._turned.append(turned)
        if len(self._turned) > TURNED:
            self._turned.popleft().end()


_HINTS = {
    "descriptors": "Raise RLIMIT_NOFILE (LimitNOFILE of the service), or lower limits.idle.",
    "memory": "The kernel has no buffers for another connection.",
    "ports": "Widen net.ipv4.ip_local_port_range, or give the backend more addresses.",
}


class TurnedAway(asyncio.Protocol):
    """A client for whom there is no room: reads what it asks for, and says so in its protocol."""

    def __init__(self, transport: asyncio.Transport, line: Line) -> None:
        self._transport = transport
        self._line = line
        self._head = b""
        self._told = False
        self._end = asyncio.get_running_loop().call_later(_WORD, transport.abort)

    def data_received(self, data: bytes) -> None:
        """Until its head is whole; what comes after it is of no interest."""
        if self._told:
            return
        self._head += data
        if b"\r\n\r\n" in self._head or len(self._head) > _HEAD:
            self._tell()

    def _tell(self) -> None:
        self._told = True
        error = Overloaded("This gateway has no room for another connection.", hint="Try again in a moment.")
        path = self._head.partition(b" ")[2].partition(b" ")[0]
        body = refusal.body(face_of(path.decode("latin-1")), error)
        self._transport.write(
            b"".join(
                (
                    STATUS_LINE[error.status], b"content-type: application/json\r\ncontent-length: %d\r\n" % len(body),
                    b"retry-after: 1\r\nx-penstock-request-id: ", self._line.request_id({}), b"\r\nconnection: close\r\n\r\n",
                    body,
                )
            )
        )  # fmt: skip
        self._line.metrics.count("penstock_refused", error.code)
        if self._transport.can_write_eof():
            # Closing with unread bytes would reset the connection, and take the answer away from the client.
            self._transport.write_eof()

    def end(self) -> None:
        """Others want to be told as well."""
        self._transport.abort()

    def eof_received(self) -> bool:
        """The client has read it, or left."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Over."""
        del exc
        self._end.cancel()
