"""The reference lane: the same line behind a plain ASGI application, for any ASGI server.

Slower than the hot lane and with the same answers; one contract suite runs over both. It also serves the requests
that the hot lane leaves alone.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from penstock.errors import PenstockError, TooLarge
from penstock.gateway.client import Headers
from penstock.gateway.line import Line, wanted
from penstock.gateway.request import Request
from penstock.protocols import refusal
from penstock.protocols.table import Route

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

HIGH_WATER = 256 * 1024
LOW_WATER = 64 * 1024


class ModelRoute:
    """ASGI application for one model route."""

    def __init__(self, line: Line, route: Route) -> None:
        self._line = line
        self._route = route

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Open, read the body, answer; race the client's leaving against everything."""
        headers = wanted(scope["headers"])
        try:
            request = self._line.open(self._route, headers, scope.get("penstock.certificate"))
            body = await _read(receive, headers, self._line.limits.body)
        except PenstockError as error:
            await _refuse(send, self._line, self._route, error)
            return
        if body is None:
            return
        if scope["http_version"] == "1.0":
            await _Collected(request, send, self._line.limits.answer).run(body, receive)
        else:
            await _Exchange(request, send).run(body, receive)


async def _read(receive: Receive, headers: dict[bytes, bytes], limit: int) -> bytes | None:
    length = headers.get(b"content-length")
    if length is not None and int(length) > limit:
        raise TooLarge(f"Reading the request: its body passes the limit of {limit} bytes.", hint="limits.body sets it.")
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        part = message.get("body", b"")
        size += len(part)
        if size > limit:
            raise TooLarge(
                f"Reading the request: its body passes the limit of {limit} bytes.", hint="limits.body sets it."
            )
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)


async def _refuse(send: Send, line: Line, route: Route, error: PenstockError) -> None:
    body = refusal.body(route.face, error)
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"x-penstock-request-id", line.request_id({})),
        (b"connection", b"close"),
    ]
    if error.retry_after is not None:
        headers.append((b"retry-after", str(error.retry_after).encode()))
    line.metrics.count("penstock_refused", error.code)
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _pairs(headers: Headers) -> list[tuple[bytes, bytes]]:
    """Raw header lines in ASGI's form."""
    lines = b"".join(headers).split(b"\r\n")
    return [(name, value) for name, _, value in (line.partition(b": ") for line in lines if line)]


class _Exchange:
    """The `Client` of one request: pieces wait in a bounded queue for the server to take them."""

    def __init__(self, request: Request, send: Send) -> None:
        self._request = request
        self._send = send
        self._messages: deque[Message] = deque()
        self._size = 0
        self._paused = False
        self._some = asyncio.Event()
        self._over = False

    async def run(self, body: bytes, receive: Receive) -> None:
        leaving = asyncio.create_task(self._watch(receive), name="client leaving")
        try:
            self._request.start(body, self)
            await self._pump()
        finally:
            leaving.cancel()
            self._request.leave()

    async def _watch(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._request.leave()
        self._over = True
        self._some.set()

    async def _pump(self) -> None:
        while True:
            await self._some.wait()
            self._some.clear()
            while self._messages:
                message = self._messages.popleft()
                self._size -= len(message.get("body", b""))
                await self._send(message)
                if message["type"] == "http.response.body" and not message.get("more_body", False):
                    return
                if self._paused and self._size < LOW_WATER:
                    self._paused = False
                    self._request.resume()
            if self._over:
                return

    def _put(self, message: Message) -> None:
        self._messages.append(message)
        self._size += len(message.get("body", b""))
        self._some.set()

    def answer(self, status: int, headers: Headers, body: bytes) -> None:
        """A whole answer."""
        self._put(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [*_pairs(headers), (b"content-length", str(len(body)).encode())],
            }
        )
        self._put({"type": "http.response.body", "body": body})

    def begin(self, status: int, headers: Headers) -> None:
        """The head of a stream."""
        self._put({"type": "http.response.start", "status": status, "headers": _pairs(headers)})

    def write(self, data: bytes) -> None:
        """A piece of it."""
        if not data:
            return
        self._put({"type": "http.response.body", "body": data, "more_body": True})
        if self._size > HIGH_WATER and not self._paused:
            self._paused = True
            self._request.pause()

    def end(self, data: bytes) -> None:
        """The last piece."""
        self._put({"type": "http.response.body", "body": data, "more_body": False})


class _Collected(_Exchange):
    """For clients of HTTP/1.0, whom ASGI has no way to stream to without chunks: the stream as one whole answer."""

    def __init__(self, request: Request, send: Send, limit: int) -> None:
        super().__init__(request, send)
        self._limit = limit
        self._head: tuple[int, Headers] = (200, [])
        self._body = bytearray()

    def begin(self, status: int, headers: Headers) -> None:
        """Keep the head until the length is known."""
        self._head = (status, headers)

    def write(self, data: bytes) -> None:
        """Collect, within the limit for answers that are held in memory."""
        self._body += data
        if len(self._body) > self._limit:
            self._request.leave()
            self._over = True
            self._some.set()

    def end(self, data: bytes) -> None:
        """Now it is a whole answer."""
        self.answer(*self._head, bytes(self._body) + data)
