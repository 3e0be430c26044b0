"""`/v1/responses/{id}`: an answer that can be asked for again lives on the backend that made it, and only there."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import Response

from penstock.errors import BrokenAnswer, EngineFault, EngineTimeout, Unreachable
from penstock.gateway.fleet import Backend
from penstock.gateway.line import Line, unknown_answer
from penstock.gateway.upstream import Listener

LIMIT = 64 * 1024 * 1024


class ResponseRoutes:
    """Retrieve, delete and cancel."""

    def __init__(self, line: Line) -> None:
        self._line = line

    async def one(self, request: Request) -> Response:
        """Forward to the backend that made the answer."""
        tenant, answer = request.scope["penstock.caller"].tenant, request.path_params["id"]
        name = self._line.made_by(tenant, answer) or await asyncio.to_thread(self._line.stored, tenant, answer)
        backend = self._line.fleet.backends.get(name) if name else None
        if backend is None or backend.origin is None:
            raise unknown_answer(answer)
        query = f"?{request.url.query}" if request.url.query else ""
        status, kind, body = await _forward(backend, request.method, request.url.path + query, self._line.limits.total)
        headers = {"x-penstock-backend": backend.name}
        return Response(body, status_code=status, headers=headers, media_type=kind)


async def _forward(backend: Backend, method: str, path: str, limit: float) -> tuple[int, str, bytes]:
    origin = backend.origin
    if origin is None:
        raise Unreachable(f"{backend.name} is not up.")
    listener = _Whole(asyncio.get_running_loop().create_future())
    head = f"{method} {origin.prefix}{path} HTTP/1.1\r\nhost: {origin.authority}\r\naccept: */*\r\n".encode()
    length = b"content-length: 0\r\n" if method == "POST" else b""
    exchange = origin.ask(head + backend.key_header + length + b"\r\n", listener)
    try:
        async with asyncio.timeout(limit):
            return await listener.future
    except TimeoutError:
        raise EngineTimeout(f"{backend.name} did not answer within {limit:g} s.") from None
    finally:
        exchange.abort()


class _Whole(Listener):
    def __init__(self, future: asyncio.Future[tuple[int, str, bytes]]) -> None:
        self.future = future
        self._status = 0
        self._kind = ""
        self._body = bytearray()

    def answered(self, status: int, headers: dict[bytes, bytes]) -> None:
        self._status = status
        self._kind = headers.get(b"content-type", b"application/json").decode("latin-1")

    def received(self, data: bytes) -> None:
        self._body += data
        if len(self._body) > LIMIT:
            self._body.clear()
            self.lost(BrokenAnswer(f"The answer passes the limit of {LIMIT} bytes."))

    def complete(self) -> None:
        if not self.future.done():
            self.future.set_result((self._status, self._kind, bytes(self._body)))

    def lost(self, fault: EngineFault) -> None:
        if not self.future.done():
            self.future.set_exception(fault)
