"""What both transports share: the bounds that our sockets keep, and httpcore2's errors in our words.

httpcore2 knows a limit for each read and none for a whole answer, and does not tell whether a connection was fresh. Both
are known where its sockets are made, so ours stand there: `Attempt` travels beside a request in a context variable.
"""

from __future__ import annotations

import os
import socket
import ssl
import time
from contextvars import ContextVar
from typing import Any

import httpcore2

from penstock.client.failures import ConnectFailed, ConnectionDied, TookTooLong
from penstock.client.io import Limits, Request
from penstock.errors import BrokenAnswer, EngineFault

KEEP_ALIVE = 4.0
"""Seconds that an idle connection is kept: less than the 5 s after which vLLM closes it."""
CONNECTIONS = 256
"""Open at a time, for each client."""
FOREIGN = (httpcore2.TimeoutException, httpcore2.NetworkError, httpcore2.ProtocolError, httpcore2.UnsupportedProtocol)


class Attempt:
    """One request on its way through a pool."""

    __slots__ = ("fresh", "received", "until")

    def __init__(self, until: float) -> None:
        self.until = until
        self.fresh = False
        """Whether a connection was made for it."""
        self.received = False
        """Whether a byte of the answer has arrived."""

    def left(self, limit: float | None) -> float:
        """Seconds a read or write may take: its own limit, but not past `until`."""
        left = self.until - time.monotonic()
        if left <= 0:
            raise httpcore2.ReadTimeout("the time for the whole call is over")
        return left if limit is None or left < limit else limit

    @property
    def stale(self) -> bool:
        """Whether it failed because a kept connection had been closed by the engine meanwhile."""
        return not self.fresh and not self.received


CURRENT: ContextVar[Attempt | None] = ContextVar("penstock_client_attempt", default=None)


def prepared(request: Request, limits: Limits) -> httpcore2.Request:
    """The request as httpcore2 wants it."""
    left = max(limits.until - time.monotonic(), 0.001)
    timeouts = {"connect": min(limits.connect, left), "read": None, "write": None, "pool": left}
    return httpcore2.Request(
        request.method, request.url, headers=request.headers, content=request.body, extensions={"timeout": timeouts}
    )


def tls(*, verify: bool | str | ssl.SSLContext) -> ssl.SSLContext:
    """`verify`: True for the system's authorities, a path for others, False for none at all, or a context."""
    if isinstance(verify, ssl.SSLContext):
        return verify
    context = ssl.create_default_context(cafile=verify if isinstance(verify, str) else None)
    if verify is False:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def translated(error: Exception, attempt: Attempt) -> EngineFault:
    """httpcore2's error in our words."""
    if isinstance(error, httpcore2.ConnectError | httpcore2.ConnectTimeout):
        return ConnectFailed(_reason(error))
    if isinstance(error, httpcore2.PoolTimeout):
        return TookTooLong(f"no connection was free: {CONNECTIONS} are in use")
    if isinstance(error, httpcore2.TimeoutException):
        return TookTooLong("no answer in time" if not attempt.received else "the answer did not go on in time")
    if attempt.received:
        return BrokenAnswer(f"the connection broke off inside the answer ({_reason(error)})")
    return ConnectionDied(_reason(error))


def _reason(error: BaseException) -> str:
    """The operating system's words, which stand below several layers of others."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ssl.SSLCertVerificationError):
            return f"its certificate is not trusted: {seen.verify_message}"
        if isinstance(seen, socket.gaierror | ssl.SSLError):
            return f"{seen.strerror}"
        if isinstance(seen, OSError) and seen.errno:
            return os.strerror(seen.errno)  # asyncio puts words of its own into strerror
        if isinstance(seen, BaseExceptionGroup):
            seen = seen.exceptions[0]
            continue
        seen = seen.__cause__ or seen.__context__
    if isinstance(error, httpcore2.ConnectTimeout):
        return "Connection timed out"
    return str(error) or type(error).__name__


def lowered(headers: Any) -> dict[bytes, bytes]:  # noqa: ANN401 - httpcore2's own type is a union
    return {name.lower(): value for name, value in headers}
