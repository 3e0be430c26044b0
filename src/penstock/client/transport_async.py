"""HTTP for event loops: a pool for each loop, because connections belong to the loop that made them."""

from __future__ import annotations

import asyncio
import ssl
import time
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from typing import Any, NamedTuple

import httpcore2

from penstock.client.io import BODY_LIMIT, Limits, Reply, Request
from penstock.client.wire import CONNECTIONS, CURRENT, FOREIGN, KEEP_ALIVE, Attempt, lowered, prepared, translated
from penstock.errors import BrokenAnswer


class _Kept(NamedTuple):
    pool: httpcore2.AsyncConnectionPool
    keeper: AsyncGenerator[None]


class AsyncTransport:
    """An Io."""

    def __init__(self, verify: ssl.SSLContext | None = None) -> None:
        self._verify = verify
        self._pools: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Kept] = weakref.WeakKeyDictionary()

    async def send(self, request: Request, limits: Limits) -> Reply:
        opened = await self.open(request, limits)
        try:
            body = await opened.whole()
        finally:
            await opened.close()
        return Reply(opened.status, opened.headers, body)

    async def open(self, request: Request, limits: Limits) -> _Opened:
        kept = self._pools.get(asyncio.get_running_loop()) or await self._begin()
        attempt = await _tried(kept.pool, request, limits)
        if isinstance(attempt, _Opened):
            return attempt
        # A kept connection that the engine had closed: once more, on another one.
        attempt = await _tried(kept.pool, request, limits)
        if isinstance(attempt, _Opened):
            return attempt
        raise attempt

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def close(self) -> None:
        """Close the connections of the running loop; those of other loops close with them."""
        kept = self._pools.pop(asyncio.get_running_loop(), None)
        if kept is not None:
            await kept.keeper.aclose()

    async def _begin(self) -> _Kept:
        pool = httpcore2.AsyncConnectionPool(
            ssl_context=self._verify,
            max_connections=CONNECTIONS,
            keepalive_expiry=KEEP_ALIVE,
            network_backend=_Backend(),
        )
        kept = self._pools[asyncio.get_running_loop()] = _Kept(pool, _keeper(pool))
        await anext(kept.keeper)
        return kept


async def _keeper(pool: httpcore2.AsyncConnectionPool) -> AsyncGenerator[None]:
    """Closes the pool with its loop: `asyncio.run` closes the async generators that were begun in it."""
    try:
        yield
    finally:
        await pool.aclose()


async def _tried(pool: httpcore2.AsyncConnectionPool, request: Request, limits: Limits) -> _Opened | Exception:
    """A response, or the error of a kept connection that had died; other errors are raised."""
    attempt = Attempt(limits.until)
    token = CURRENT.set(attempt)
    try:
        return _Opened(await pool.handle_async_request(prepared(request, limits)), attempt, limits)
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
        self._stream: AsyncIterator[bytes] = aiter(response.stream)  # type: ignore[arg-type]
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
            return await anext(self._stream, b"")
        except FOREIGN as error:
            raise translated(error, self._attempt) from error
        finally:
            CURRENT.reset(token)

    async def whole(self) -> bytes:
        """The rest of the body."""
        parts = []
        size = 0
        token = CURRENT.set(self._attempt)
        try:
            async for part in self._stream:
                size += len(part)
                if size > BODY_LIMIT:
                    raise BrokenAnswer(f"the answer passed {BODY_LIMIT} bytes without an end")
                parts.append(part)
        except FOREIGN as error:
            raise translated(error, self._attempt) from error
        finally:
            CURRENT.reset(token)
        return b"".join(parts)

    async def close(self) -> None:
        await self._response.aclose()


class _Backend(httpcore2.AsyncNetworkBackend):
    """Sockets that keep to the attempt they are used in."""

    def __init__(self) -> None:
        self._under = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        attempt = CURRENT.get()
        if attempt is not None:
            attempt.fresh = True
            timeout = attempt.left(timeout)
        return _Stream(await self._under.connect_tcp(host, port, timeout, local_address, socket_options))


class _Stream(httpcore2.AsyncNetworkStream):
    def __init__(self, under: httpcore2.AsyncNetworkStream) -> None:
        self._under = under
        self.get_extra_info = under.get_extra_info  # type: ignore[method-assign]
        self.aclose = under.aclose  # type: ignore[method-assign]

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        attempt = CURRENT.get()
        if attempt is None:
            return await self._under.read(max_bytes, timeout)
        data = await self._under.read(max_bytes, attempt.left(timeout))
        if data:
            attempt.received = True
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        attempt = CURRENT.get()
        await self._under.write(buffer, timeout if attempt is None else attempt.left(timeout))

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.AsyncNetworkStream:
        attempt = CURRENT.get()
        limit = timeout if attempt is None else attempt.left(timeout)
        return _Stream(await self._under.start_tls(ssl_context, server_hostname, limit))
