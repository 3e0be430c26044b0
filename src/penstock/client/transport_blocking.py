"""HTTP for threads: one pool, shared by all threads of a process. Nothing in here ever suspends."""

from __future__ import annotations

import os
import ssl
import threading
import time
import weakref
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import httpcore2

from penstock.client.io import BODY_LIMIT, Limits, Reply, Request
from penstock.client.wire import CONNECTIONS, CURRENT, FOREIGN, KEEP_ALIVE, Attempt, lowered, prepared, translated
from penstock.errors import BrokenAnswer


class BlockingTransport:
    """An Io."""

    def __init__(self, verify: ssl.SSLContext | None = None) -> None:
        self._verify = verify
        self._lock = threading.Lock()
        self._process = 0
        self._pool: httpcore2.ConnectionPool | None = None
        self._closing: weakref.finalize[[], Any] | None = None

    async def send(self, request: Request, limits: Limits) -> Reply:
        opened = self._open(request, limits)
        try:
            body = opened.whole()
        finally:
            opened.shut()
        return Reply(opened.status, opened.headers, body)

    async def open(self, request: Request, limits: Limits) -> _Opened:
        return self._open(request, limits)

    async def sleep(self, seconds: float) -> None:
        time.sleep(seconds)  # noqa: ASYNC251 - this transport blocks, that is what it is for

    def close(self) -> None:
        with self._lock:
            if self._closing is not None:
                self._closing()
            self._pool = self._closing = None

    def _open(self, request: Request, limits: Limits) -> _Opened:
        pool = self._pool if self._process == os.getpid() else None
        if pool is None:
            pool = self._begin()
        attempt = _tried(pool, request, limits)
        if isinstance(attempt, _Opened):
            return attempt
        # A kept connection that the engine had closed: once more, on another one.
        attempt = _tried(pool, request, limits)
        if isinstance(attempt, _Opened):
            return attempt
        raise attempt

    def _begin(self) -> httpcore2.ConnectionPool:
        """The pool of this process: a child that was forked must not write on its parent's connections."""
        with self._lock:
            if self._pool is None or self._process != os.getpid():
                if self._closing is not None:
                    self._closing.detach()
                self._pool = httpcore2.ConnectionPool(
                    ssl_context=self._verify,
                    max_connections=CONNECTIONS,
                    keepalive_expiry=KEEP_ALIVE,
                    network_backend=_Backend(),
                )
                self._process = os.getpid()
                self._closing = weakref.finalize(self, self._pool.close)
            return self._pool


def _tried(pool: httpcore2.ConnectionPool, request: Request, limits: Limits) -> _Opened | Exception:
    """A response, or the error of a kept connection that had died; other errors are raised."""
    attempt = Attempt(limits.until)
    token = CURRENT.set(attempt)
    try:
        return _Opened(pool.handle_request(prepared(request, limits)), attempt, limits)
    except FOREIGN as error:
        fault = translated(error, attempt)
        if attempt.stale and isinstance(error, httpcore2.NetworkError | httpcore2.ProtocolError):
            return fault
        raise fault from error
    finally:
        CURRENT.reset(token)


class _Opened:
    """A response whose head has arrived."""

    def __init__(self, response: httpcore2.Response, attempt: Attempt, limits: Limits) -> None:
        self.status = response.status
        self.headers: Mapping[bytes, bytes] = lowered(response.headers)
        self._response = response
        self._stream: Iterator[bytes] = iter(response.stream)  # type: ignore[arg-type]
        self._attempt = attempt
        self._silence = 0.0
        self._limits = limits

    def begun(self) -> None:
        self._silence = self._limits.silence

    async def read(self) -> bytes:
        if self._silence:
            self._attempt.until = time.monotonic() + self._silence
        token = CURRENT.set(self._attempt)
        try:
            return next(self._stream, b"")
        except FOREIGN as error:
            raise translated(error, self._attempt) from error
        finally:
            CURRENT.reset(token)

    def whole(self) -> bytes:
        """The rest of the body."""
        token = CURRENT.set(self._attempt)
        try:
            body = next(self._stream, b"")
            size = len(body)
            parts = [body]
            for part in self._stream:
                size += len(part)
                if size > BODY_LIMIT:
                    raise BrokenAnswer(f"the answer passed {BODY_LIMIT} bytes without an end")
                parts.append(part)
        except FOREIGN as error:
            raise translated(error, self._attempt) from error
        finally:
            CURRENT.reset(token)
        return b"".join(parts)

    def shut(self) -> None:
        self._response.close()

    async def close(self) -> None:
        self.shut()


class _Backend(httpcore2.NetworkBackend):
    """Sockets that keep to the attempt they are used in."""

    def __init__(self) -> None:
        self._under = httpcore2.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.NetworkStream:
        attempt = CURRENT.get()
        if attempt is not None:
            attempt.fresh = True
            timeout = attempt.left(timeout)
        return _Stream(self._under.connect_tcp(host, port, timeout, local_address, socket_options))


class _Stream(httpcore2.NetworkStream):
    def __init__(self, under: httpcore2.NetworkStream) -> None:
        self._under = under
        self.get_extra_info = under.get_extra_info  # type: ignore[method-assign]
        self.close = under.close  # type: ignore[method-assign]

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        attempt = CURRENT.get()
        if attempt is None:
            return self._under.read(max_bytes, timeout)
        data = self._under.read(max_bytes, attempt.left(timeout))
        if data:
            attempt.received = True
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        attempt = CURRENT.get()
        self._under.write(buffer, timeout if attempt is None else attempt.left(timeout))

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        attempt = CURRENT.get()
        limit = timeout if attempt is None else attempt.left(timeout)
        return _Stream(self._under.start_tls(ssl_context, server_hostname, limit))
