"""A relay in front of an engine that breaks chosen answers: after so many tokens, in the way that is wanted.

Bytes pass both ways as they are. A stream is cut behind the event that brings its k-th token; vLLM writes each event as
one chunk, and an event with text has `"content":"…"` or `"text":"…"` and, where ids were asked for, `"token_ids":[…]`.
"""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from collections import deque
from dataclasses import dataclass, field
from types import TracebackType
from typing import Literal, Self
from urllib.parse import urlsplit

Way = Literal["rst", "fin", "eos", "stall", "malformed", "error"]
_RESET = struct.pack("ii", 1, 0)
_TOKENS = re.compile(rb'"token_ids":\[([0-9,]+)\]')
_TEXT = re.compile(rb'"(?:content|text|reasoning|arguments)":"[^"]')
_JUNK = b'data: {"id": "x", "choices": [{"delta"\n\n'
_ERROR = b'data: {"error":{"message":"EngineCore encountered an issue.","type":"InternalServerError","code":500}}\n\n'


@dataclass
class Cut:
    """What is to happen to the next stream."""

    after: int
    """Tokens."""
    way: Way = "rst"
    happened: asyncio.Event = field(default_factory=asyncio.Event)


def _tokens(event: bytes) -> int:
    """By their ids, or one for an event with text where there are none."""
    ids = _TOKENS.findall(event)
    return sum(found.count(b",") + 1 for found in ids) if ids else bool(_TEXT.search(event))


class Relay:
    """One address in front of one engine. `cuts` may be shared by several: the next stream through any of them is cut."""

    def __init__(self, upstream: str, cuts: deque[Cut]) -> None:
        parts = urlsplit(upstream)
        self._to = (parts.hostname or "127.0.0.1", parts.port or 80)
        self._cuts = cuts
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.requests: list[bytes] = []
        """Heads and bodies as they came, one entry a read."""
        self.port = 0
        self.open = True
        """False: whoever connects is turned away, as if no engine stood behind."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self.open:
            writer.transport.abort()
            return
        try:
            above, below = await asyncio.open_connection(*self._to)
        except OSError:
            writer.transport.abort()
            return
        up = asyncio.create_task(self._up(reader, below))
        try:
            await self._down(above, writer)
        except ConnectionError:
            pass
        finally:
            up.cancel()
            await asyncio.gather(up, return_exceptions=True)
            below.transport.abort()
            writer.transport.abort()

    async def _up(self, reader: asyncio.StreamReader, below: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            if data.startswith(b"POST "):
                self.requests.append(data)
            elif self.requests:
                self.requests[-1] += data
            below.write(data)
            await below.drain()
        below.transport.abort()

    async def _down(self, above: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        cut: Cut | None = None
        tokens = 0
        passed = b""  # of an event that has no end yet; it has gone on already
        while data := await above.read(65536):
            if cut is None and b"content-type: text/event-stream" in data and self._cuts:
                cut, tokens = self._cuts.popleft(), 0
            if cut is None:
                writer.write(data)
                continue
            known, at = passed + data, 0
            while (end := known.find(b"\n\n", at)) >= 0:
                tokens += _tokens(known[at : end + 2])
                at = end + 2
                if tokens >= cut.after:
                    writer.write(known[len(passed) : at])
                    await writer.drain()
                    await self._break(writer, cut)
                    return
            writer.write(data)
            await writer.drain()
            passed = known[at:]

    async def _break(self, writer: asyncio.StreamWriter, cut: Cut) -> None:
        cut.happened.set()
        if cut.way == "rst":
            raw = writer.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort()
        elif cut.way == "stall":
            await asyncio.Event().wait()
        else:
            # the chunk of the last event lacks its line end
            more = {"malformed": _JUNK, "error": _ERROR}.get(cut.way, b"")
            chunk = b"%x\r\n%b\r\n" % (len(more), more) if more else b""
            writer.write(b"\r\n" + chunk + (b"" if cut.way == "fin" else b"0\r\n\r\n"))
            await writer.drain()
            writer.close()
            await writer.wait_closed()
