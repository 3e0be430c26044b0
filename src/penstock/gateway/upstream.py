"""Connections to one backend: pooled, bounded in time, and free of any opinion about what is asked.

An `Origin` owns the connections to one address. `ask` sends one request and reports to a `Listener`; nothing here
retries but the one case that only this file can see: a pooled connection that the engine had already given up.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections import deque
from collections.abc import Awaitable, Callable
from typing import ClassVar, Protocol
from urllib.parse import urlsplit

from penstock.config import BackendTls
from penstock.errors import EngineFault, Unreachable
from penstock.gateway import keepalive, room
from penstock.gateway.certificates import of_backend
from penstock.gateway.connection import OK, Connection
from penstock.gateway.known_head import KnownHead, learn
from penstock.gateway.tls import why_not

IDLE = 4.0
"""Seconds an unused connection is kept: vLLM closes its own after 5."""
LEARN_EVERY = 1.0
"""Seconds between two heads learnt from one engine: what changes more often than its clock is not worth it."""


class Listener(Protocol):
    """Who asked. Callbacks come from the event loop, or from inside `Origin.close`; never from inside `ask`."""

    __slots__ = ()

    alike: ClassVar[bool] = False
    """Whether the heads of its answers are worth learning: there will be more of the same."""

    def patience(self) -> float | None:
        """Seconds for a new connection, where it is not those of the origin."""
        return None

    def wants(self) -> str:
        """The model that it relies on: who answers at this address may have changed since it was looked at. Empty for none."""
        return ""

    def answered(self, status: int, headers: dict[bytes, bytes]) -> None:
        """The head of the answer has arrived."""

    def received(self, data: bytes) -> None:
        """Body bytes, unframed."""

    def complete(self) -> None:
        """The body ended as its framing promised."""

    def whole(self, headers: dict[bytes, bytes], body: bytes) -> None:
        """Head, body and end of an answer with status 200 at once, instead of the three calls above."""
        self.answered(OK, headers)
        self.received(body)
        self.complete()

    def lost(self, fault: EngineFault) -> None:
        """The answer will not come, or not whole."""


class Exchange:
    """One request on its way through one connection; the handle its listener holds."""

    __slots__ = ("_connection", "_origin", "_paused", "_task", "listener", "request", "retried")

    def __init__(self, origin: Origin, request: bytes, listener: Listener) -> None:
        self._origin = origin
        self._connection: Connection | None = None
        self._task: asyncio.Task[None] | None = None
        self._paused = False
        self.request = request
        """Kept until the first byte of an answer, to be sent again on another connection if need be."""
        self.listener: Listener | None = listener
        self.retried = False

    def abort(self) -> None:
        """Forget the answer: the engine sees its client leave."""
        self.listener = None
        if self._task is not None:
            self._task.cancel()
            self._task = None
        if self._connection is not None:
            self._connection.drop()
            self._connection = None

    def pause(self) -> None:
        """Stop reading until `resume`: the client is slower than the engine."""
        self._paused = True
        if self._connection is not None:
            self._connection.pause()

    def resume(self) -> None:
        """Read on."""
        self._paused = False
        if self._connection is not None:
            self._connection.resume()

    def distrust(self) -> None:
        """What came was no answer: what else the engine may have written belongs to nobody's next request."""
        self._origin.drop_idle()

    def ride(self, connection: Connection) -> None:
        """Go out on this connection."""
        self._connection = connection
        connection.carry(self)
        if self._paused:
            connection.pause()

    def dial(self) -> None:
        """Go out on a new connection."""
        self._connection = None
        self._task = self._origin.loop.create_task(self._dial())

    async def _dial(self) -> None:
        listener = self.listener
        try:
            if listener is not None and (model := listener.wants()):
                await self._origin.sure(model)
            connection = await self._origin.connect(listener.patience() if listener is not None else None)
        except EngineFault as fault:
            if self.listener is not None:
                listener, self.listener = self.listener, None
                listener.lost(fault)
            return
        finally:
            self._task = None
        if self.listener is None:
            connection.drop()
        else:
            self.ride(connection)

    def broke(self, fault: EngineFault, *, reused: bool) -> None:
        """The connection died; before the first byte of an answer on a reused one, once, that is nobody's fault."""
        self._connection = None
        if self.listener is None:
            return
        if reused and self.request and not self.retried:
            self.retried = True
            self.dial()
            return
        listener, self.listener = self.listener, None
        listener.lost(fault)

    def finish(self) -> None:
        """The connection has delivered everything."""
        self._connection = None
        if self.listener is not None:
            listener, self.listener = self.listener, None
            listener.complete()

    def finish_whole(self, headers: dict[bytes, bytes], body: bytes) -> None:
        """The connection has delivered everything at once."""
        self._connection = None
        if self.listener is not None:
            listener, self.listener = self.listener, None
            listener.whole(headers, body)


class _Only(Exchange):
    """The only request of its connection: it says `connection: close`, and after that no other may follow it."""

    __slots__ = ()

    def finish(self) -> None:
        connection = self._connection
        super().finish()
        if connection is not None:
            connection.drop()

    def finish_whole(self, headers: dict[bytes, bytes], body: bytes) -> None:
        connection = self._connection
        super().finish_whole(headers, body)
        if connection is not None:
            connection.drop()


class Origin:
    """All connections to one backend address."""

    def __init__(
        self,
        url: str,
        *,
        connect_timeout: float,
        loop: asyncio.AbstractEventLoop | None = None,
        tls: BackendTls | None = None,
    ) -> None:
        parts = urlsplit(url)
        self.url = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        """As the log names it: without a user and a password."""
        self.host = parts.hostname or "127.0.0.1"
        self.port = parts.port or (443 if parts.scheme == "https" else 80)
        self.prefix = parts.path.rstrip("/")
        self.authority = parts.netloc.rpartition("@")[2]
        self.loop = loop or asyncio.get_running_loop()
        self.credentials = of_backend(self.url, tls) if parts.scheme == "https" else None
        self._certified = (tls.name if tls is not None else "") or None
        """The host name that its certificate bears, where it is not the URL's."""
        self._timeout = connect_timeout
        self.assure: Callable[[str], Awaitable[None]] | None = None
        """Looks who answers here now; raises an `EngineFault` where it is nobody, or nobody with this model."""
        self.doubts = 0
        """Reasons to look since the last look."""
        self._assured = float("inf")
        """When somebody looked last, in the loop's time; what was never looked at cannot have changed."""
        self.known: KnownHead[dict[bytes, bytes]] | None = None
        """The head of an answer with status 200 that came in one piece, and its headers."""
        self._learnt = 0.0
        self._idle: deque[Connection] = deque()
        self._open: set[Connection] = set()
        self._sweep: asyncio.TimerHandle | None = None
        self._round = 0
        """Sweeps so far: how long a connection has been idle is told by them, not by a clock read for every request."""
        self._post_lines: dict[str, bytes] = {}

    def post_line(self, path: str) -> bytes:
        """The request line and the headers that never change; paths come from our own table, so they are few."""
        line = self._post_lines.get(path)
        if line is None:
            text = f"POST {self.prefix}{path} HTTP/1.1\r\nhost: {self.authority}\r\naccept: */*\r\n"
            line = self._post_lines[path] = text.encode()
        return line

    def ask(self, request: bytes, listener: Listener) -> Exchange:
        """Send one request; what becomes of it is told to the listener."""
        exchange = Exchange(self, request, listener)
        idle = self._idle
        while idle:
            connection = idle.pop()
            if connection.usable():
                exchange.ride(connection)
                return exchange
            connection.drop()
        exchange.dial()
        return exchange

    def ask_anew(self, request: bytes, listener: Listener) -> Exchange:
        """The same on a connection that leads to whoever answers here now, and that carries nothing else."""
        exchange = _Only(self, request, listener)
        exchange.dial()
        return exchange

    async def sure(self, model: str) -> None:
        """Before a request for this model goes out on a new connection: where another process may answer by now, look first."""
        if self.assure is None:
            return
        if self.doubted or (not self._open and self.loop.time() - self._assured > IDLE / 2):
            await self.assure(model)

    @property
    def doubted(self) -> bool:
        """Whether somebody else may answer at this address than at the last look."""
        return self.doubts > 0

    def doubt(self) -> None:
        """A connection ended or could not be made: who answers next may be another process."""
        self.doubts += 1

    def assured(self, doubts: int) -> None:
        """A look that began after so many doubts has seen who answers."""
        self._assured = self.loop.time()
        if doubts == self.doubts:
            self.doubts = 0

    def lost(self, connection: Connection) -> None:
        """A connection has ended; by the engine, if it is not one that we forgot before."""
        if connection in self._open:
            self._open.discard(connection)
            self.doubt()

    def prune(self, addresses: frozenset[str]) -> int:
        """Drop unused connections to addresses that the host's name no longer has; how many they were."""
        gone = [one for one in self._idle if one.peer and one.peer not in addresses]
        for connection in gone:
            self._idle.remove(connection)
            connection.drop()
        return len(gone)

    async def connect(self, limit: float | None = None) -> Connection:
        """A new connection, within the connect limit."""
        limit = limit or self._timeout
        try:
            async with asyncio.timeout(limit):
                transport, connection = await self._dial()
        except TimeoutError:
            self.doubt()
            raise Unreachable(f"no connection within {limit:g} s").at(self.url) from None
        except OSError as error:
            if (what := room.OURS.get(error.errno or 0)) is not None:
                raise room.exhausted(what).at(self.url) from None
            self.doubt()
            raise _unconnected(self.url, error) from None
        if room.scarce(transport):
            connection.drop()
            raise room.exhausted("descriptors").at(self.url)
        keepalive.arm(transport)
        self._open.add(connection)
        return connection

    async def _dial(self) -> tuple[asyncio.Transport, Connection]:
        if self.credentials is None:
            return await self.loop.create_connection(lambda: Connection(self), self.host, self.port)
        return await self.loop.create_connection(
            lambda: Connection(self),
            self.host,
            self.port,
            ssl=self.credentials.context,
            server_hostname=self._certified or self.host,
        )

    def learn(self, data: bytes, size: int, headers: dict[bytes, bytes]) -> None:
        """An answer with a head that may come again, for every connection."""
        now = self.loop.time()
        if now - self._learnt > LEARN_EVERY:
            self._learnt = now
            self.known = learn(data, size, headers) or self.known

    def keep(self, connection: Connection) -> None:
        """Put a connection back for the next request."""
        connection.idle_since = self._round
        self._idle.append(connection)
        if self._sweep is None:
            self._sweep = self.loop.call_later(IDLE / 2, self._expire)

    def drop_idle(self) -> None:
        """Carry no request on any connection that is not carrying one now."""
        while self._idle:
            self._idle.pop().drop()

    def forget(self, connection: Connection) -> None:
        """The connection is closed."""
        self._open.discard(connection)

    def close(self) -> None:
        """End every connection; whoever still waits for an answer need not wait for a limit."""
        if self._sweep is not None:
            self._sweep.cancel()
        for connection in list(self._open):
            connection.close()

    def _expire(self) -> None:
        """What was not used since the last sweep has been idle for one to two of them."""
        self._sweep = None
        while self._idle and self._idle[0].idle_since != self._round:
            self._idle.popleft().drop()
        self._round += 1
        if self._idle:
            self._sweep = self.loop.call_later(IDLE / 2, self._expire)


def _unconnected(url: str, error: OSError) -> Unreachable:
    """In words without the address, which the system puts into its own; those go to the log."""
    if isinstance(error, ssl.SSLError):
        return Unreachable(f"no connection: {why_not(error)}").at(f"{url}: {error}")
    if isinstance(error, socket.gaierror):
        return Unreachable("no connection: its host name is not known").at(url)
    if not error.errno:
        return Unreachable("no connection").at(f"{url}: {error}")
    return Unreachable(f"no connection: {os.strerror(error.errno)}").at(url)
