"""Both ends of a line in memory: a client that notices what may never happen, and engines whose every byte the test says.

All in between is the gateway's own: the line, its queues, the pool of connections and the reader of their HTTP.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import msgspec

from penstock.errors import Unreachable
from penstock.faults.judge import Story, judge
from penstock.gateway.client import Headers
from penstock.gateway.connection import Connection
from penstock.gateway.record import Record, Records
from penstock.gateway.request import Request
from penstock.gateway.upstream import Origin


@dataclass(slots=True)
class Client:
    """What it was told, in order; being told anything after the end is an error at once."""

    face: str
    stream: bool
    status: int = 0
    begun: bool = False
    over: bool = False
    gone: bool = False
    body: bytearray = field(default_factory=bytearray)
    type: str = ""

    def answer(self, status: int, headers: Headers, body: bytes) -> None:
        self._told()
        assert not self.begun, "a whole answer after the head of a stream"
        self._head(status, headers)
        self.body += body
        self.over = True

    def begin(self, status: int, headers: Headers) -> None:
        self._told()
        assert not self.begun, "a second head"
        self._head(status, headers)
        self.begun = True

    def write(self, data: bytes) -> None:
        self._told()
        assert self.begun, "a piece before the head"
        self.body += data

    def end(self, data: bytes) -> None:
        self._told()
        assert self.begun, "an end before the head"
        self.body += data
        self.over = True

    @property
    def story(self) -> Story:
        """What it reads, judged by a reader that shares no code with the gateway."""
        headers = {"content-type": self.type}
        return judge(self.face, self.status, headers, bytes(self.body), stream=self.stream)

    def _told(self) -> None:
        assert not self.over, "something after the end"
        assert not self.gone, "something to a client that has left"

    def _head(self, status: int, headers: Headers) -> None:
        lines = b"".join(headers).decode("latin-1").lower().split("\r\n")
        self.type = next((line.partition(":")[2].strip() for line in lines if line.startswith("content-type:")), "")
        self.status = status


class Pipe(asyncio.Transport):
    """The gateway's end of a connection to an engine: what it wrote, and whether it closed."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = bytearray()
        self.closed = False
        self.reading = True

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        self.sent += data

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True

    def pause_reading(self) -> None:
        assert not self.closed, "pausing a closed connection"
        self.reading = False

    def resume_reading(self) -> None:
        assert not self.closed, "resuming a closed connection"
        self.reading = True


@dataclass(slots=True, eq=False)
class Link:
    """One connection as the engine has it."""

    engine: str
    connection: Connection
    pipe: Pipe
    streaming: bool = False
    """The head of a stream has been said."""

    @property
    def asked(self) -> bool:
        """Whether a request waits here for its answer, or for the rest of it."""
        return bool(self.pipe.sent) and not self.pipe.closed

    def say(self, data: bytes) -> None:
        """Bytes of the engine, if anybody reads them."""
        if not self.pipe.closed and self.pipe.reading:
            self.connection.data_received(data)

    def lose(self, error: Exception | None) -> None:
        """The connection is gone, as the system tells it."""
        self.pipe.closed = True
        self.connection.connection_lost(error)


class Engine(Origin):
    """An origin whose connections are made in memory, as long as it takes any."""

    def __init__(self, name: str, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(f"http://{name}.test:8000", connect_timeout=1.0, loop=loop)
        self.name = name
        self.listening = True
        self.links: list[Link] = []

    async def connect(self, limit: float | None = None) -> Connection:
        del limit
        if not self.listening:
            raise Unreachable("no connection: refused")
        connection, pipe = Connection(self), Pipe()
        connection.connection_made(pipe)
        self._open.add(connection)
        self.links.append(Link(self.name, connection, pipe))
        return connection


class Kept(Records):
    """Keeps records instead of writing them."""

    def __init__(self) -> None:
        super().__init__(lines=True, json=True)
        self.all: list[Record] = []

    def add(self, record: Record) -> None:
        self.all.append(msgspec.structs.replace(record))


@dataclass(slots=True, eq=False)
class Asked:
    """One request and its client."""

    request: Request
    client: Client
