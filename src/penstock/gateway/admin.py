"""The admin socket: a Unix socket that only its owner can open, for the command line and for other workers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from uvicorn.server import ServerState

from penstock.errors import ConfigError
from penstock.gateway import readiness
from penstock.gateway.admin_keys import Keys
from penstock.gateway.admin_replicas import Replicas
from penstock.gateway.admin_switches import PeerAware, Switches
from penstock.gateway.line import Line
from penstock.gateway.reload import Reloads
from penstock.gateway.switchboard import Switchboard


class Admin:
    """The socket and its routes."""

    def __init__(
        self,
        path: str,
        line: Line,
        board: Switchboard,
        reloads: Reloads,
        replicas: Replicas,
        keys: Keys,
        stop: Callable[[], None],
    ) -> None:
        self._path = Path(path)
        self._line = line
        self._board = board
        self._reloads = reloads
        self._replicas = replicas
        self._keys = keys
        self._stop = stop
        self._server: asyncio.AbstractServer | None = None
        self._inode = 0
        self._state = ServerState()

    async def start(self) -> None:
        """Listen, taking the path over from a process that is leaving or gone."""
        app = Starlette(
            routes=[
                Route("/snapshot", self._snapshot, methods=["GET"]),
                Route("/status", self._status, methods=["GET"]),
                Route("/stop", self._stopped, methods=["POST"]),
                *self._reloads.routes(),
                *self._replicas.routes(),
                *self._keys.routes(),
                *Switches(self._board).routes(),
            ]
        )
        config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", ws="none")
        config.load()
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(
            lambda: PeerAware(config=config, server_state=self._state, app_state={}), sock=self._bind()
        )

    def _bind(self) -> socket.socket:
        """Bound beside its place and moved there, so that there is no moment with other permissions or no socket."""
        beside = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            beside.unlink(missing_ok=True)
            sock.bind(str(beside))
            beside.chmod(stat.S_IRUSR | stat.S_IWUSR)
            sock.listen()
            self._inode = beside.stat().st_ino
            beside.replace(self._path)
        except OSError as error:
            msg = f"Opening the admin socket {self._path}: {error.strerror or error}."
            raise ConfigError(
                msg, hint="`admin` in penstock.yaml names it; its path may have about 100 characters."
            ) from None
        return sock

    def refuse_taken(self) -> None:
        """A socket somebody listens on is another gateway's; one that nobody listens on is left over."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(1.0)
            try:
                probe.connect(str(self._path))
            except OSError:
                return
        msg = f"Opening the admin socket {self._path}: another gateway has it."
        raise ConfigError(
            msg, hint="Give this one its own with `admin`, or start it with --takeover to replace that one."
        )

    async def stop(self) -> None:
        """Close, and remove the socket unless a successor has taken its place."""
        if self._server is not None:
            self._server.close()
        for connection in list(self._state.connections):
            connection.shutdown()
        with contextlib.suppress(OSError):
            if self._path.stat().st_ino == self._inode:
                self._path.unlink()

    async def _snapshot(self, request: Request) -> Response:
        del request
        return Response(msgspec.json.encode(self._line.snapshot()), media_type="application/json")

    async def _status(self, request: Request) -> Response:
        del request
        views = {name: readiness.of_alias(one, self._line.fleet) for name, one in self._line.names.aliases.items()}
        return JSONResponse(
            {
                "pid": os.getpid(),
                "active_requests": len(self._line.active),
                "tasks": len(asyncio.all_tasks()),
                "draining": self._line.draining,
                "aliases": msgspec.to_builtins(views),
                "switched": [name for name, one in self._board.switches.items() if not one.plain],
            }
        )

    async def _stopped(self, request: Request) -> Response:
        del request
        self._stop()
        return JSONResponse({"stopping": True})
