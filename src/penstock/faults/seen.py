"""What a client sees of one request, judged by nothing but the bytes on its socket.

The reader and the judge are written for this alone and share no code with the gateway: a mistake made on both sides would
cancel itself out. An answer counts as answered only when everything that its protocol promises has come.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

from penstock.faults.judge import Story, judge

LIMIT = 12.0
"""Seconds until a request that has not ended counts as hung."""
_LARGEST = 1 << 20


class Outcome(StrEnum):
    """How a request ended for its client."""

    ANSWERED = "answered"
    """Whole, as its protocol promises."""
    REFUSED = "refused"
    """An error status."""
    BROKEN = "broken"
    """An explicit error inside an answer that had begun."""
    TRUNCATED = "truncated"
    """It looks complete and is not, or just stops."""
    GARBLED = "garbled"
    """It ends, and what came before is not what the protocol allows: an event is lost or wrong."""
    HUNG = "hung"
    CLOSED = "closed"
    """The connection ended without an answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One request as its client saw it."""

    outcome: Outcome
    status: int = 0
    headers: Mapping[str, str]
    """Names in lower case; of repeated ones the last."""
    body: bytes = b""
    """Without framing, as far as it came."""
    events: tuple[Any, ...] = ()
    """The decoded events or lines of a stream, or the one document of a whole answer."""
    text: str = ""
    reasoning: str = ""
    tools: Mapping[int, tuple[str, str]]
    """Function calls by index: name and arguments."""
    finish: str = ""
    usage: Mapping[str, Any]
    error: str = ""
    """The sentence of an explicit error in the client's protocol; empty where there is none."""
    why: str = ""
    """What the judge held against it."""
    first: float = 0.0
    """Seconds from the request to the first byte of the body."""
    seconds: float = 0.0
    """Seconds from the request to the end."""

    def __str__(self) -> str:
        parts = [
            self.outcome.value,
            str(self.status or ""),
            repr(self.text[:60]) if self.text else "",
            self.error[:200],
        ]
        return f"{' '.join(filter(None, parts))}{f' ({self.why})' if self.why else ''} after {self.seconds:.2f} s"


class Asking:
    """One request on a connection of its own, from its first byte on; end it with `seen` or `leave`."""

    def __init__(
        self,
        url: str,
        request: bytes,
        *,
        stream: bool,
        face: str,
        before: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 80
        self._request = request
        self._before = before
        self._stream = stream
        self._face = face
        self._wire = bytearray()
        """What came, without framing."""
        self._status = 0
        self._headers: dict[str, str] = {}
        self._whole = False
        self._changed = asyncio.Event()
        self._first = 0.0
        self._began = time.monotonic()
        self._ended = 0.0
        self._task: asyncio.Task[None] | None = None
        self._writer: asyncio.StreamWriter | None = None

    def start(self) -> Asking:
        """Connect and send."""
        self._began = time.monotonic()
        self._task = asyncio.create_task(self._run())
        return self

    @property
    def ended(self) -> bool:
        """Whether nothing more will come of it."""
        return self._task is not None and self._task.done()

    async def _run(self) -> None:
        if self._before is not None:
            await self._before()
            self._began = time.monotonic()
        try:
            reader, self._writer = await asyncio.open_connection(self._host, self._port, limit=_LARGEST)
            self._writer.write(self._request)
            await self._read(reader)
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
            # What is not whole shows in what came; the judge says what that means.
            pass
        finally:
            self._ended = time.monotonic()
            self._wake()

    async def until(self, part: str | bytes, limit: float = LIMIT) -> None:
        """Until these bytes have come in the body; `TimeoutError` if they do not."""
        wanted = part.encode() if isinstance(part, str) else part
        async with asyncio.timeout(limit):
            while wanted not in self._wire and not self._ended:
                await self._changed.wait()
        if wanted not in self._wire:
            raise TimeoutError(f"the answer ended without {part!r}: {bytes(self._wire[-500:])!r}")

    @property
    def body(self) -> bytes:
        """What has come so far, without framing."""
        return bytes(self._wire)

    async def leave(self) -> None:
        """Close the connection at once, as a client that goes away."""
        if self._writer is not None:
            self._writer.transport.abort()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def seen(self, limit: float = LIMIT) -> Seen:
        """Wait for the end, close, and judge."""
        if self._task is not None:
            await asyncio.wait([self._task], timeout=max(0.0, self._began + limit - time.monotonic()))
        hung = not self._ended
        await self.leave()
        story = judge(self._face, self._status, self._headers, bytes(self._wire), stream=self._stream)
        outcome, why = self._outcome(story, hung=hung)
        return Seen(
            outcome=outcome,
            status=self._status,
            headers=self._headers,
            body=bytes(self._wire),
            events=tuple(story.events),
            text=story.text,
            reasoning=story.reasoning,
            tools={index: (name, arguments) for index, (name, arguments) in story.tools.items()},
            finish=story.finish,
            usage=story.usage,
            error=story.error,
            why=why,
            first=self._first,
            seconds=(self._ended or time.monotonic()) - self._began,
        )

    def _outcome(self, story: Story, *, hung: bool) -> tuple[Outcome, str]:
        unended = "" if self._whole else "the body is not ended as its framing promises"
        if hung:
            return Outcome.HUNG, "no end within the limit"
        if not self._status:
            return Outcome.CLOSED, "the connection ended before a status line"
        if self._status >= 400:
            return Outcome.REFUSED, "" if story.error else "the body is no error of the client's protocol"
        if story.error:
            return Outcome.BROKEN, unended
        lost = unended or (story.missing and f"it ends as if it were whole, without {story.missing}")
        if lost:
            return Outcome.TRUNCATED, f"{lost}; there is no error"
        return (Outcome.GARBLED if story.wrong else Outcome.ANSWERED), story.wrong

    # the wire

    async def _read(self, reader: asyncio.StreamReader) -> None:
        while self._status < 200:
            head = await reader.readuntil(b"\r\n\r\n")
            lines = head.decode("latin-1").split("\r\n")
            self._status = int(lines[0].split(" ")[1])
            pairs = [line.partition(":") for line in lines[1:] if line]
            self._headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        self._wake()
        if "chunked" in self._headers.get("transfer-encoding", ""):
            await self._read_chunks(reader)
        elif "content-length" in self._headers:
            await self._read_some(reader, int(self._headers["content-length"]))
            self._whole = True
        else:
            while data := await reader.read(65536):
                self._came(data)
            self._whole = True

    async def _read_chunks(self, reader: asyncio.StreamReader) -> None:
        while True:
            line = await reader.readuntil(b"\r\n")
            size = int(line.partition(b";")[0], 16)
            if not size:
                while await reader.readuntil(b"\r\n") != b"\r\n":
                    pass
                self._whole = True
                return
            await self._read_some(reader, size)
            if await reader.readexactly(2) != b"\r\n":
                raise ValueError("a chunk does not end where it says")

    async def _read_some(self, reader: asyncio.StreamReader, size: int) -> None:
        while size:
            data = await reader.read(min(size, 65536))
            if not data:
                raise asyncio.IncompleteReadError(b"", size)
            self._came(data)
            size -= len(data)

    def _came(self, data: bytes) -> None:
        if not self._first:
            self._first = time.monotonic() - self._began
        self._wire += data
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


def request(
    path: str,
    body: object = None,
    headers: Mapping[str, str] | None = None,
    *,
    method: str = "",
    close: bool = True,
) -> bytes:
    """The bytes of a request; `body` is bytes as they are, or anything JSON."""
    raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    given = {name.lower(): value for name, value in (headers or {}).items()}
    if body is not None:
        given.setdefault("content-type", "application/json")
        if "transfer-encoding" not in given:
            given.setdefault("content-length", str(len(raw)))
    if close:
        given.setdefault("connection", "close")
    verb = method or ("GET" if body is None else "POST")
    lines = [f"{verb} {path} HTTP/1.1", "host: gateway.test", *(f"{name}: {value}" for name, value in given.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + raw
