"""`/v1/responses/{id}`: an answer that can be asked for again lives on the backend that made it, and only there.

Relayed as the model routes relay: a stream event by event, anything else whole; a client that leaves ends the engine's
request; what breaks off ends in an explicit error.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable
from typing import TypeVar

import structlog
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from penstock.config import Limits
from penstock.errors import BrokenAnswer, EngineFault, EngineTimeout, Unreachable
from penstock.gateway.answer import ERRORS, coded
from penstock.gateway.answers import unknown_answer
from penstock.gateway.auth import check_route
from penstock.gateway.backend import Backend
from penstock.gateway.line import Line
from penstock.gateway.upstream import Exchange, Listener
from penstock.protocols import refusal
from penstock.protocols.dialect import Call, Reader, Timing
from penstock.protocols.openai_stream import ResponsesStream
from penstock.types import Face, Operation, Wire

log = structlog.stdlib.get_logger("penstock.line")

HIGH_WATER = 256 * 1024
"""Bytes that wait for the client before the engine has to."""
_EVENTS = "text/event-stream"
_JSON = "application/json"
CLIENT_LEFT = 499
"""Status of an answer that nobody waits for."""
T = TypeVar("T")


class ResponseRoutes:
    """Retrieve, delete and cancel."""

    def __init__(self, line: Line) -> None:
        self._line = line

    async def one(self, request: Request) -> Response:
        """Forward to the backend that made the answer."""
        caller = request.scope["penstock.caller"]
        check_route(caller, Operation.RESPONSES.value)
        backend = await self._maker(caller.tenant, request.path_params["id"])
        query = f"?{request.url.query}" if request.url.query else ""
        answer = _Answer(backend, self._line.limits)
        try:
            response = await _unless_left(request, answer.ask(request.method, request.url.path + query, request.scope))
        except EngineFault as fault:
            raise fault.of(backend.name) from None
        finally:
            # A stream goes on behind our back, and ends what it took itself.
            if not answer.streaming:
                await answer.stop()
        return response or Response(status_code=CLIENT_LEFT)

    async def _maker(self, tenant: str, answer: str) -> Backend:
        name = await self._line.answers.find(tenant, answer)
        backend = self._line.fleet.backends.get(name) if name else None
        if backend is None:
            raise unknown_answer(answer)
        return backend


async def _unless_left(request: Request, work: Awaitable[T]) -> T | None:
    """What the work comes to; None, and the work cancelled, where the client leaves before that."""
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        return await working if working.done() else None
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


class _Answer(Listener):
    """One stored answer on its way; pieces wait in a bounded queue, and the engine waits while it is full."""

    def __init__(self, backend: Backend, limits: Limits) -> None:
        if backend.origin is None:
            raise Unreachable(f"{backend.name} is not up.")
        self._backend = backend
        self._origin = backend.origin
        self._limits = limits
        self._last = asyncio.get_running_loop().time() + limits.total
        self._exchange: Exchange | None = None
        self._status = 0
        self._kind = ""
        self._coded = False
        self._pieces: deque[bytes] = deque()
        self._waiting = 0
        self._some = asyncio.Event()
        self._whole = False
        self._fault: EngineFault | None = None
        self.streaming = False

    async def ask(self, method: str, path: str, scope: object) -> Response:
        """The engine's answer: whole, or one that is being streamed."""
        origin = self._origin
        head = f"{method} {origin.prefix}{path} HTTP/1.1\r\nhost: {origin.authority}\r\naccept: */*\r\n".encode()
        length = b"content-length: 0\r\n" if method == "POST" else b""
        self._exchange = origin.ask(head + self._backend.key_header + length + b"\r\n", self)
        while not self._status:
            await self._more(self._limits.total)
        if self._coded:
            raise BrokenAnswer("it compressed an answer that was not to be compressed")
        headers = {"x-penstock-backend": self._backend.name}
        if not self._kind.startswith(_EVENTS) or not _streamable(scope):
            body, kind = _fit(self._status, self._kind, await self._collected())
            return Response(body, self._status, headers, media_type=kind)
        self.streaming = True
        headers["cache-control"] = "no-cache"
        # Where the client leaves between two events, nobody asks the iterator for its next one.
        ending = BackgroundTask(self.stop)
        return StreamingResponse(self._events(), self._status, headers, media_type=self._kind, background=ending)

    async def stop(self) -> None:
        """Nobody waits any more."""
        if self._exchange is not None:
            self._exchange.abort()

    async def _collected(self) -> bytes:
        parts: list[bytes] = []
        size = 0
        async for piece in self._body(self._limits.total):
            parts.append(piece)
            size += len(piece)
            if size > self._limits.answer:
                raise BrokenAnswer(f"the answer passes the limit of {self._limits.answer} bytes")
        return b"".join(parts)

    async def _events(self) -> AsyncIterator[bytes]:
        reader = _reader()
        try:
            async for piece in self._body(self._limits.between_tokens):
                yield reader.feed(piece)
            yield reader.close()
        except EngineFault as fault:
            log.warning("%s failed: %s; the stream ended in an error", self._backend.kind.label, fault.logged)
            yield fault.before + reader.fault(fault.of(self._backend.name))
        finally:
            await self.stop()

    async def _body(self, patience: float) -> AsyncIterator[bytes]:
        while True:
            while self._pieces:
                piece = self._pieces.popleft()
                self._waiting -= len(piece)
                if self._waiting <= HIGH_WATER and self._exchange is not None:
                    self._exchange.resume()
                yield piece
            if self._whole:
                return
            await self._more(patience)

    async def _more(self, patience: float) -> None:
        """Until something else has come; what was lost is raised once everything before it was taken."""
        if self._fault is not None and not self._pieces:
            raise self._fault
        self._some.clear()
        try:
            async with asyncio.timeout_at(min(self._last, asyncio.get_running_loop().time() + patience)):
                await self._some.wait()
        except TimeoutError:
            raise EngineTimeout(f"nothing more came within {patience:g} s") from None
        if self._fault is not None and not self._pieces:
            raise self._fault

    # upstream.Listener

    def answered(self, status: int, headers: dict[bytes, bytes]) -> None:
        self._status = status
        self._kind = headers.get(b"content-type", _JSON.encode()).decode("latin-1")
        self._coded = coded(headers)
        self._some.set()

    def received(self, data: bytes) -> None:
        self._pieces.append(data)
        self._waiting += len(data)
        if self._waiting > HIGH_WATER and self._exchange is not None:
            self._exchange.pause()
        self._some.set()

    def complete(self) -> None:
        self._whole = True
        self._some.set()

    def lost(self, fault: EngineFault) -> None:
        self._fault = fault
        self._some.set()


def _fit(status: int, kind: str, body: bytes) -> tuple[bytes, str]:
    """A whole answer and its content type, once it is known to be whole and no page of somebody else's."""
    if status >= ERRORS:
        return refusal.translated(Face.OPENAI, Wire.OPENAI, status, body), _JSON
    if kind.startswith(_EVENTS):
        reader = _reader()
        return reader.feed(body) + reader.close(), kind
    if not kind.startswith(_JSON) or not refusal.is_json(body):
        raise BrokenAnswer(f"it answered {status} with {kind or 'no content type'} that is not the JSON it should be")
    return body, kind


def _streamable(scope: object) -> bool:
    """HTTP/1.0 has no chunks: there a stream is sent as one whole answer."""
    return not isinstance(scope, dict) or scope.get("http_version") != "1.0"


def _reader() -> Reader:
    call = Call(Operation.RESPONSES, Face.OPENAI, "/v1/responses", b"", "application/json", "", stream=True)
    return ResponsesStream(call, Timing(), time.monotonic_ns)
