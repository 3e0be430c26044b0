"""A client on a bare socket: sends exactly the bytes it is told, and reads answers one by one with what framed them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import httptools

LIMIT = 20.0
"""Seconds any single wait may take before the test fails."""


@dataclass(slots=True)
class Answer:
    """One response, whole or as far as it came."""

    status: int = 0
    version: str = ""
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    complete: bool = False
    keep_alive: bool = False

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key == name), None)

    def json(self) -> Any:  # noqa: ANN401 - a test looks into it as it likes
        return json.loads(self.body)

    @property
    def error(self) -> str:
        """The sentence of an error, in whichever of the protocols' shapes."""
        error = self.json()["error"]
        return str(error["message"] if isinstance(error, dict) else error)

    @property
    def events(self) -> list[bytes]:
        """The server-sent events of the body."""
        return [event for event in self.body.split(b"\n\n") if event]


class _Reading:
    """httptools' callbacks, collected into answers."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.now = Answer()
        self.parser = httptools.HttpResponseParser(self)

    def on_header(self, name: bytes, value: bytes) -> None:
        self.now.headers.append((name.decode("latin-1").lower(), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        self.now.status = self.parser.get_status_code()
        self.now.version = self.parser.get_http_version()

    def on_body(self, body: bytes) -> None:
        self.now.body += body

    def on_message_complete(self) -> None:
        self.now.complete = True
        self.now.keep_alive = self.parser.should_keep_alive()
        if self.now.status >= 200:
            self.answers.append(self.now)
        self.now = Answer()


class Raw:
    """One connection. Use it as an async context manager."""

    def __init__(self, url: str, tls: ssl.SSLContext | None = None) -> None:
        parts = urlsplit(url)
        self._tls = tls
        self.host, self.port = parts.hostname or "", parts.port or 80
        self._reading = _Reading()
        self._taken = 0
        self.received = b""
        """Every byte that ever arrived."""
        self.closed = False
        """The other side has sent FIN or RST."""

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection(self.host, self.port, ssl=self._tls)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave()

    def leave(self) -> None:
        """Close at once."""
        self._writer.close()

    def reset(self) -> None:
        self._writer.transport.abort()

    def send(self, data: bytes) -> None:
        self._writer.write(data)

    def ask(self, path: str, body: object = None, *headers: str, method: str = "", version: str = "1.1") -> None:
        """One ordinary request."""
        self.send(request(path, body, *headers, method=method, version=version))

    async def answer(self) -> Answer:
        """The next whole answer; if the connection ends first, what came of it."""
        await self._until(lambda: len(self._reading.answers) > self._taken)
        self._taken += 1
        if len(self._reading.answers) >= self._taken:
            return self._reading.answers[self._taken - 1]
        return self._reading.now

    async def until(self, part: bytes) -> None:
        """Read until these bytes have arrived."""
        await self._until(lambda: part in self.received)
        assert part in self.received, self.received

    async def times(self, part: bytes, count: int) -> None:
        """Read until these bytes have arrived so many times."""
        await self._until(lambda: self.received.count(part) >= count)
        assert self.received.count(part) >= count, self.received

    async def end(self) -> bytes:
        """Read until the other side closes; everything that arrived."""
        await self._until(lambda: False)
        return self.received

    async def _until(self, ready: Any) -> None:  # noqa: ANN401
        async with asyncio.timeout(LIMIT):
            while not ready() and not self.closed:
                try:
                    data = await self._reader.read(65536)
                except ConnectionError:
                    data = b""
                if not data:
                    self.closed = True
                    self._finish()
                    return
                self.received += data
                self._feed(data)

    def _feed(self, data: bytes) -> None:
        """Bytes that are not an answer stay in `received`; a test that expects answers finds none."""
        with contextlib.suppress(httptools.HttpParserError):
            self._reading.parser.feed_data(data)

    def _finish(self) -> None:
        """An answer without length ends with the connection."""
        now = self._reading.now
        framed = {"content-length", "transfer-encoding"} & {name for name, _ in now.headers}
        if now.status and not framed:
            now.complete = True
            self._reading.answers.append(now)
            self._reading.now = Answer()


def request(path: str, body: object = None, *headers: str, method: str = "", version: str = "1.1") -> bytes:
    """The bytes of a request; `body` is bytes as they are, or anything JSON."""
    raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    verb = method or ("GET" if body is None else "POST")
    lines = [f"{verb} {path} HTTP/{version}", "host: penstock.test", *headers]
    given = {line.partition(":")[0].lower() for line in headers}
    if body is not None and not given & {"content-length", "transfer-encoding"}:
        lines.append(f"content-length: {len(raw)}")
    if body is not None and "content-type" not in given:
        lines.append("content-type: application/json")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + raw


async def once(
    url: str, path: str, body: object = None, *headers: str, method: str = "", tls: ssl.SSLContext | None = None
) -> Answer:
    """One request on a connection of its own."""
    async with Raw(url, tls) as raw:
        raw.ask(path, body, *headers, method=method)
        return await raw.answer()
