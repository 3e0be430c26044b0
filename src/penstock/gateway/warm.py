"""A first request to every backend of a target before any caller's: what loads a model, and what finds out that it cannot.

The first call to an engine may take half a minute (S1's own report has 36 s); nobody should wait for it in an answer.
"""

from __future__ import annotations

import asyncio

import msgspec

from penstock.config import Target
from penstock.errors import EngineFault
from penstock.gateway import answer
from penstock.gateway.backend import Backend
from penstock.gateway.fleet import Fleet
from penstock.gateway.upstream import Listener, Origin
from penstock.protocols import refusal
from penstock.types import Wire

LIMIT = 120.0
"""Seconds for the first answer of a backend."""
_KEPT = 64 * 1024
_HELLO = [{"role": "user", "content": "Hello"}]


async def cold(target: Target, fleet: Fleet, limit: float = LIMIT) -> str:
    """Why a backend of this target cannot answer; empty once all of them have."""
    backends = fleet.of(target.backends)
    told = await asyncio.gather(*(_first_answer(one, target.model, limit) for one in backends))
    return "; ".join(f"{one.name}: {why}" for one, why in zip(backends, told, strict=True) if why)


async def _first_answer(backend: Backend, model: str, limit: float) -> str:
    origin = backend.origin
    if origin is None:
        return backend.reason or "its engine has not started"
    path, body = _request(backend, model)
    if not backend.serves(path):
        return ""  # an engine for vectors alone: there is nothing to chat about
    listener = _Answer(asyncio.get_running_loop().create_future())
    exchange = origin.ask(_head(origin, path, backend.key_header, len(body)) + body, listener)
    try:
        async with asyncio.timeout(limit):
            status, said = await listener.future
    except TimeoutError:
        return f"no answer to a first request within {limit:g} s"
    except EngineFault as fault:
        return fault.message
    finally:
        exchange.abort()
    # Whatever an engine finds wrong with such a request, it is there and has the model.
    wrong = answer.fault_of(status, refusal.message_of(said), backend.name, None) if status >= answer.ERRORS else None
    return wrong.message if wrong is not None else ""


def _request(backend: Backend, model: str) -> tuple[str, bytes]:
    if backend.wire is Wire.OLLAMA:
        asked = {"model": model, "messages": _HELLO, "stream": False, "options": {"num_predict": 1}}
        return "/api/chat", msgspec.json.encode(asked)
    return "/v1/chat/completions", msgspec.json.encode({"model": model, "messages": _HELLO, "max_tokens": 1})


def _head(origin: Origin, path: str, key: bytes, length: int) -> bytes:
    return (
        f"POST {origin.prefix}{path} HTTP/1.1\r\nhost: {origin.authority}\r\ncontent-type: application/json\r\n"
        f"content-length: {length}\r\n"
    ).encode() + key + b"\r\n"  # fmt: skip


class _Answer(Listener):
    def __init__(self, future: asyncio.Future[tuple[int, bytes]]) -> None:
        self.future = future
        self._status = 0
        self._body = bytearray()

    def answered(self, status: int, headers: dict[bytes, bytes]) -> None:
        del headers
        self._status = status

    def received(self, data: bytes) -> None:
        if len(self._body) <= _KEPT:
            self._body += data

    def complete(self) -> None:
        if not self.future.done():
            self.future.set_result((self._status, bytes(self._body)))

    def lost(self, fault: EngineFault) -> None:
        if not self.future.done():
            self.future.set_exception(fault)
