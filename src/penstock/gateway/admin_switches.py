"""What the admin socket offers of switches: canaries and rollback for the command line, news for the other workers.

Who gave an order is what the kernel says of the other end of the socket, never what the request says.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from penstock.errors import BadRequest, PenstockError
from penstock.gateway.orders import Start, alias_named
from penstock.gateway.switchboard import Switchboard
from penstock.gateway.switched import spelled, unusable
from penstock.state.switch import Switch

EVENTS = 50
_BODY = 64 * 1024

Handler = Callable[[Request], Awaitable[Response]]


class PeerAware(HttpToolsProtocol):
    """uvicorn's protocol on a Unix socket; requests know in `state` which user asks."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Somebody is there."""
        super().connection_made(transport)
        self.app_state["who"] = who(transport.get_extra_info("socket"))


def who(peer: socket.socket) -> str:
    """`uid 1000 (ann)`; without the kernel's word it is the owner of the socket, who alone may open it."""
    uid = os.getuid()
    if hasattr(socket, "SO_PEERCRED"):
        _, uid, _ = struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    try:
        return f"uid {uid} ({pwd.getpwuid(uid).pw_name})"
    except KeyError:
        return f"uid {uid}"


class _Named(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    alias: str
    reason: str = ""


class Switches:
    """The routes."""

    def __init__(self, board: Switchboard) -> None:
        self._board = board

    def routes(self) -> list[Route]:
        """All of them."""
        return [
            Route("/switches", told(self._status), methods=["GET"]),
            Route("/switches/again", told(self._again), methods=["POST"]),
            Route("/switches/hold", told(self._hold), methods=["POST"]),
            Route("/switches/ended", told(self._ended), methods=["POST"]),
            Route("/canary/start", told(self._start), methods=["POST"]),
            Route("/canary/stop", told(self._stop), methods=["POST"]),
            Route("/canary/promote", told(self._promote), methods=["POST"]),
            Route("/rollback", told(self._rollback), methods=["POST"]),
        ]

    async def _start(self, request: Request) -> Response:
        order = await asked(request, Start)
        return self._switched(await self._board.start(order, request.state.who))

    async def _stop(self, request: Request) -> Response:
        order = await asked(request, _Named)
        return self._switched(await self._board.stop(order.alias, request.state.who, order.reason))

    async def _promote(self, request: Request) -> Response:
        order = await asked(request, _Named)
        return self._switched(await self._board.promote(order.alias, request.state.who))

    async def _rollback(self, request: Request) -> Response:
        order = await asked(request, _Named)
        return self._switched(await self._board.rollback(order.alias, request.state.who))

    async def _again(self, request: Request) -> Response:
        del request
        await self._board.again(told=True)
        return JSONResponse({"switched": [name for name, one in self._board.switches.items() if not one.plain]})

    async def _hold(self, request: Request) -> Response:
        self._board.hold(await asked(request, Switch))
        return JSONResponse({})

    async def _ended(self, request: Request) -> Response:
        del request
        return Response(msgspec.json.encode(self._board.ended()), media_type="application/json")

    async def _status(self, request: Request) -> Response:
        named = request.query_params.get("alias", "")
        alias = alias_named(self._board.line.config, named) if named and named not in self._board.switches else named
        events = await self._board.events(alias, EVENTS)
        board = self._board
        switched = [one for one in board.switches.values() if not one.plain or one.alias in board.owed]
        shown = [one for one in switched if alias in {"", one.alias}]
        return JSONResponse(
            {"switched": [self._view(one) for one in shown], "events": [msgspec.to_builtins(one) for one in events]}
        )

    def _switched(self, switch: Switch) -> Response:
        return JSONResponse(self._view(switch))

    def _view(self, switch: Switch) -> dict[str, object]:
        """A switch as it is told: what was ordered, whether it holds, and the figures so far."""
        config, canary, override = self._board.line.config, switch.canary, switch.override
        known = switch.alias in config.aliases
        view: dict[str, object] = {
            "alias": switch.alias,
            "file": [spelled(one) for one in config.aliases[switch.alias].targets] if known else [],
            "override": None,
            "canary": None,
            "unwritten": switch.alias in self._board.owed,
        }
        if override is not None:
            problem = unusable(config, override) if known else "the alias is not configured"
            view["override"] = {"to": spelled(override), "problem": problem}
        if canary is not None:
            shown = {"to": spelled(canary.target), "percent": canary.percent, **msgspec.to_builtins(canary)}
            if self._board.watch is not None:
                shown["progress"] = msgspec.to_builtins(self._board.watch.progress(canary))
            view["canary"] = shown
        return view


def told(handler: Handler) -> Handler:
    """The same, with errors told as JSON."""

    async def tell(request: Request) -> Response:
        try:
            return await handler(request)
        except PenstockError as error:
            body = {"error": error.message, "hint": error.hint, "code": error.code}
            return JSONResponse(body, status_code=409 if error.status >= 500 else error.status)

    return tell


Order = TypeVar("Order", bound=msgspec.Struct)


async def asked(request: Request, kind: type[Order]) -> Order:
    """The order in a request's body; `BadRequest` for what is none."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > _BODY:
            raise BadRequest(f"Reading the order: it has more than {_BODY} bytes.")
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f"Reading the order: {error}.") from None
