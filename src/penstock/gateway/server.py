"""One gateway process: sockets, uvicorn, the line, and the order in which they come up and go down.

    up      state → fleet (first look) → admin socket → listen
    down    turn new connections away → finish what runs, within `limits.drain` → explicit errors → close

uvicorn serves; this file only decides when. Several workers are several of these processes (workers.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from types import FrameType
from typing import Any

import msgspec
import structlog
import uvicorn

from penstock.config import Config
from penstock.gateway import app, heap, listen, logs, room, salts
from penstock.gateway.admin import Admin
from penstock.gateway.admin_replicas import Replicas
from penstock.gateway.certificates import Certificates
from penstock.gateway.exporting import exporting
from penstock.gateway.fleet import Fleet
from penstock.gateway.guard import Guard
from penstock.gateway.lane import HotLane
from penstock.gateway.line import Line
from penstock.gateway.peers import Peers, ask, socket_path
from penstock.gateway.places import Places
from penstock.gateway.record import Records
from penstock.gateway.reload import Reloads, Source
from penstock.gateway.roll import Roll
from penstock.gateway.sink import Sink
from penstock.gateway.switchboard import Switchboard
from penstock.gateway.vitals import Vitals
from penstock.gateway.who import known

log = structlog.stdlib.get_logger("penstock.server")

TICK = 0.05
"""Seconds between two looks at the limits of requests."""
TICKS_PER_SWEEP = 10
"""Looks at requests for one at all client connections, whose limits are long."""
LINGER = 2.0
"""Seconds an idle client connection is kept during a drain: its client may be about to send."""
FLUSH = 0.25
FEWEST, ROUNDS = 4, 200
"""Rounds of the loop in which it takes in connections that the kernel has accepted, before it closes its listeners."""
EIGHTH = 8
"""Of all client connections, as many as are closed at once where there is no room, if they are idle."""


class Role(msgspec.Struct, frozen=True):
    """What this process is among those of its gateway."""

    worker: int = 0
    takeover: bool = False
    """Replace the process that serves now."""
    announce: bool = False
    """Say on stdout, in one JSON line, where we listen."""


ALONE = Role()
REPLACED = 4
"""Exit status of a worker whose successor serves."""


class Gateway:
    """Everything one process owns."""

    def __init__(self, config: Config, source: Source, role: Role, sink: Sink) -> None:
        self._source = source
        self._role = role
        self._sink = sink
        self.config = config
        self._hung_up = False
        self.replaced = False

    def hang_up_later(self, number: int, frame: FrameType | None) -> None:
        """SIGHUP while we start."""
        del number, frame
        self._hung_up = True

    async def run(self, sockets: list[socket.socket], ops: list[socket.socket]) -> None:
        """Serve until told to stop."""
        config = self.config
        async with contextlib.AsyncExitStack() as life:
            places = Places(config.state)
            life.callback(places.close)
            records = Records(lines=config.log.requests, json=logs.is_json(config.log), places=places, out=self._sink)
            records.start()
            life.callback(records.close)
            fleet = Fleet(config)
            life.push_async_callback(fleet.stop)
            line = self.line = Line(config, fleet, records, places.store)
            line.salt(salts.secret(config, os.environ))
            life.push_async_callback(line.shadows.close)
            life.push_async_callback(line.quotas.close)
            if config.budgets or any(caller.limits is not None for caller in config.callers.values()):
                line.quotas.warm()
            told = partial(line.metrics.count, "penstock_fleet_file")
            roll = self._roll = Roll(fleet, config.fleet, told, line.admission.wake)
            life.push_async_callback(roll.stop)
            if config.receipts is not None:
                from penstock.gateway.receipts import Receipts  # noqa: PLC0415 - a library of cryptography that most gateways never need

                line.receipts = Receipts(config.receipts, config, leads=self._role.worker == 0)
                life.push_async_callback(line.receipts.close)
                line.receipts.start()
            await roll.start()
            await fleet.start()
            peers = Peers(config.admin, self._role.worker, config.workers)
            self._board = Switchboard(line, places, peers, config.state, leads=self._role.worker == 0)
            await self._board.open()
            life.push_async_callback(self._board.close)
            self._keys = await known(line, places, peers, life, leads=self._role.worker == 0)
            self._certificates = Certificates(config, line)
            life.push_async_callback(self._certificates.close)
            self._reloads = Reloads(config, self._source, line, peers, self._role.worker)
            self._reloads.certificates = self._certificates
            life.push_async_callback(self._reloads.close)
            self._vitals = Vitals(line, places, self._board, self._reloads)
            await exporting(config.otel, line, self._role.worker, life)
            await self._serve(line, peers, sockets, ops)

    async def _serve(self, line: Line, peers: Peers, sockets: list[socket.socket], ops: list[socket.socket]) -> None:
        config = self.config
        replicas = Replicas(line.fleet, self._roll, peers)
        path = socket_path(config.admin, self._role.worker)
        admin = Admin(path, line, self._board, self._reloads, replicas, self._keys, self.give_way)
        if not self._role.takeover:
            admin.refuse_taken()
        lane = type("Lane", (HotLane if config.http == "hot" else Guard,), {"line": line})
        ops_lane = type("OpsLane", (Guard,), {"line": line})
        servers = [_Server(self._uvicorn(app.build(line, peers, self._keys), lane), line, config)]
        tasks = [asyncio.create_task(servers[0].serve(sockets), name="serve")]
        if ops:
            servers.append(
                _Server(self._uvicorn(app.build_ops(line, peers), ops_lane, ops=True), line, config, ops=True)
            )
            tasks.append(asyncio.create_task(servers[1].serve(ops), name="serve metrics"))
        ticking = asyncio.create_task(_tick(line, self._vitals, servers), name="limits")
        ticking.add_done_callback(lambda task: ended(task, self.stop))
        self.server = servers[0]
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._reloads.hang_up)
        if self._hung_up:
            self._reloads.hang_up()
        self._certificates.watch()
        try:
            for server, task in zip(servers, tasks, strict=True):
                await _up(server, task)
            await self._retire_predecessor()
            await admin.start()
            # Whatever was ordered between our first look and the moment in which we can be told.
            await self._board.again()
            self._announce(sockets)
            await tasks[0]
        finally:
            await admin.stop()
            for server in servers:
                server.should_exit = True
            ticking.cancel()
            await asyncio.gather(*tasks, ticking, return_exceptions=True)

    def _uvicorn(self, application: Any, lane: type, *, ops: bool = False) -> uvicorn.Config:  # noqa: ANN401 - uvicorn's own type
        config = self.config
        return uvicorn.Config(
            application,
            http=lane,
            loop="none",
            lifespan="off",
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=int(config.limits.idle) or 1,
            backlog=listen.BACKLOG,
            ssl_context_factory=self._certificates.for_uvicorn(ops=ops),
        )

    def _announce(self, sockets: list[socket.socket]) -> None:
        names = [listen.name(sock) for sock in sockets]
        log.info("listening", addresses=names, worker=self._role.worker)
        if self._role.announce:
            sys.stdout.write(json.dumps({"listen": names}) + "\n")
            sys.stdout.flush()

    async def _retire_predecessor(self) -> None:
        """We listen already: the process that served until now may drain."""
        if not self._role.takeover:
            return
        path = socket_path(self.config.admin, self._role.worker)
        try:
            async with asyncio.timeout(2.0):
                await ask(path, "POST", "/stop")
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            log.warning("nobody to take over from", admin=path, reason=str(error))
        else:
            log.info("taking over: the former process drains", admin=path)

    def stop(self) -> None:
        """Begin the drain."""
        self.server.should_exit = True

    def give_way(self) -> None:
        """Begin the drain: another process serves in our place, and whoever watches this one need not start it again."""
        self.replaced = True
        self.stop()


async def _up(server: _Server, task: asyncio.Task[None]) -> None:
    """Until it listens; raises what kept it from that."""
    listening = asyncio.create_task(server.up.wait(), name="listening")
    try:
        await asyncio.wait([task, listening], return_when=asyncio.FIRST_COMPLETED)
    finally:
        listening.cancel()
    if task.done():
        task.result()


def ended(ticking: asyncio.Task[None], stop: Callable[[], None]) -> None:
    """Without the task that knows the limits every wait would be endless: better to drain, loudly, and be started anew."""
    if not ticking.cancelled() and (error := ticking.exception()) is not None:
        log.critical("limits are no longer watched, draining", exc_info=error)
        stop()


async def _tick(line: Line, vitals: Vitals, servers: list[_Server]) -> None:
    before = time.monotonic()
    for number in count(1):
        await asyncio.sleep(TICK)
        line.tick()
        now = time.monotonic()
        vitals.round(now - before - TICK)
        before = now
        if number % TICKS_PER_SWEEP == 0:
            line.room.look()
            crowded, line.room.full = line.room.full, False
            for server in servers:
                server.expire(now, crowded=crowded)


class _Server(uvicorn.Server):
    """uvicorn's server with a drain that loses nothing."""

    def __init__(self, settings: uvicorn.Config, line: Line, config: Config, *, ops: bool = False) -> None:
        super().__init__(settings)
        self._line = line
        self._drain = config.limits.drain
        self._workers = config.workers
        self._ops = ops
        self._doors: list[socket.socket] = []
        self.up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and let it be known."""
        own = sockets or []
        self._doors = [] if self._ops else [door for sock in own for door in listen.doors(sock)]
        if self.config.ssl is None:
            await super().startup([*own, *self._doors])
        else:
            await self._listen_for_tls([*own, *self._doors])
        self.up.set()

    async def _listen_for_tls(self, sockets: list[socket.socket]) -> None:
        """What uvicorn's own method does, with limits for what TLS waits for."""
        await self.lifespan.startup()
        settings = self.config
        lane: Any = settings.http_protocol_class
        make = partial(lane, config=settings, server_state=self.server_state, app_state=self.lifespan.state)
        self.servers = await listen.serve_tls(sockets, make, settings.ssl, self._line.limits)
        self.started = True

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """SIGTERM and SIGINT begin the drain; a second SIGINT ends it. The process then ends with status 0."""
        if self._ops:
            yield
            return
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._told, number)
        yield

    def _told(self, number: int) -> None:
        if self.should_exit and number == signal.SIGINT:
            self.force_exit = True
        self.should_exit = True

    def expire(self, now: float, *, crowded: bool) -> None:
        """Close connections whose deadline has passed; where others found no room, those too that wait the longest."""
        guards = self._guards()
        for connection in [one for one in guards if one.deadline <= now]:
            connection.expire()
        if crowded:
            idle = [one for one in guards if one.idle_since is not None and now - one.idle_since > LINGER]
            idle.sort(key=lambda one: one.idle_since or now)
            for connection in idle[: len(guards) // EIGHTH + 1]:
                connection.transport.close()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Turn away, finish, break off, close."""
        if self._ops:
            await self._close_listeners(sockets or [])
            self._close_connections()
            return
        self._line.draining = True
        self._line.shadows.stop()
        log.info("draining", seconds=self._drain, active=len(self._line.active))
        await self._close_listeners(sockets or [])
        began = time.monotonic()
        while self.server_state.connections and time.monotonic() < began + self._drain and not self.force_exit:
            self._close_idle(time.monotonic(), began)
            await asyncio.sleep(TICK)
        if self._line.active:
            log.warning("drain deadline passed", broken_off=len(self._line.active))
            self._line.break_off()
            await asyncio.sleep(FLUSH)
        self._close_connections()
        for task in list(self.server_state.tasks):
            task.cancel()
        await asyncio.gather(*self.server_state.tasks, return_exceptions=True)

    async def _close_listeners(self, sockets: list[socket.socket]) -> None:
        for sock in sockets:
            listen.turn_away(sock, self._workers)
        # What the kernel accepted before is taken in by the loop in its next rounds, a few connections in each.
        for number in range(ROUNDS):
            await asyncio.sleep(TICK / 5)
            if number >= FEWEST and not any(listen.waiting(sock) for sock in sockets):
                break
        for server in self.servers:
            server.close()
        for sock in (*sockets, *self._doors):
            sock.close()

    def _close_idle(self, now: float, began: float) -> None:
        for connection in self._guards():
            if connection.busy() or connection.reading():
                continue
            if now - (connection.idle_since or began) > LINGER:
                connection.transport.close()

    def _guards(self) -> list[Guard]:
        """The client connections; every one is made by our lane class."""
        return [one for one in self.server_state.connections if isinstance(one, Guard)]

    def _close_connections(self) -> None:
        for connection in list(self.server_state.connections):
            connection.transport.close()


def new_loop() -> asyncio.AbstractEventLoop:
    """A uvloop one where it exists."""
    try:
        import uvloop  # noqa: PLC0415 - not on Windows
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def serve(config: Config, *, source: Source, role: Role = ALONE) -> int:
    """Run one gateway process in the foreground: 0, or `REPLACED`. Raises `ConfigError` for what cannot start."""
    sink = logs.configure(config.log)
    heap.keep()
    room.raise_limit()
    shared = role.takeover or config.workers > 1
    sockets = listen.bind(config.listen, takeover=shared, patience=config.limits.idle)
    ops = listen.bind(config.listen_metrics, takeover=shared)
    try:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            gateway = Gateway(config, source, role, sink)
            # Before it can be obeyed it would end the process.
            signal.signal(signal.SIGHUP, gateway.hang_up_later)
            runner.run(gateway.run(sockets, ops))
    finally:
        for sock in (*sockets, *ops):
            sock.close()
    return REPLACED if gateway.replaced else 0
