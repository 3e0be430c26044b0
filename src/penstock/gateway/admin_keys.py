"""What the admin socket offers of keys. An order is done when every worker of this machine knows of it.

A worker that does not answer in time is named in the answer: it looks by itself, twice a second, and lets nobody in while
it cannot.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

import msgspec
import structlog
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from penstock.gateway.admin_switches import Handler, asked, told
from penstock.gateway.line import Line
from penstock.gateway.peers import Peers
from penstock.gateway.places import Places
from penstock.gateway.stored_keys import StoredKeys
from penstock.state.key import Named, Rotate, Wanted

if TYPE_CHECKING:
    from penstock.gateway.key_orders import KeyOrders

Told: TypeAlias = dict[str, object]

log = structlog.stdlib.get_logger("penstock.auth")


class Keys:
    """The routes."""

    def __init__(self, line: Line, places: Places, stored: StoredKeys, peers: Peers) -> None:
        self._line = line
        self._places = places
        self._stored = stored
        self._peers = peers

    def orders(self) -> list[tuple[str, str, Handler]]:
        """Path, method and handler of what an administrator may order, wherever it is asked."""
        return [
            ("/keys", "GET", self._list),
            ("/keys/show", "POST", self._show),
            ("/keys/create", "POST", self._create),
            ("/keys/revoke", "POST", self._revoke),
            ("/keys/rotate", "POST", self._rotate),
        ]

    def routes(self) -> list[Route]:
        """All of them, for the admin socket."""
        again = Route("/keys/again", told(self._again), methods=["POST"])
        return [again, *(Route(path, told(one), methods=[method]) for path, method, one in self.orders())]

    async def _list(self, request: Request) -> Response:
        del request
        return JSONResponse(await self._carried_out(lambda orders: orders.list()))

    async def _show(self, request: Request) -> Response:
        order = await asked(request, Named)
        return JSONResponse(await self._carried_out(lambda orders: orders.show(order)))

    async def _create(self, request: Request) -> Response:
        wanted = await asked(request, Wanted)
        return await self._known(request, "created", await self._carried_out(lambda orders: orders.create(wanted)))

    async def _revoke(self, request: Request) -> Response:
        order = await asked(request, Named)
        return await self._known(request, "revoked", await self._carried_out(lambda orders: orders.revoke(order)))

    async def _rotate(self, request: Request) -> Response:
        order = await asked(request, Rotate)
        return await self._known(request, "replaced", await self._carried_out(lambda orders: orders.rotate(order)))

    async def _again(self, request: Request) -> Response:
        """Another worker has changed the keys."""
        del request
        known = await self._stored.again()
        return Response(msgspec.json.encode(_Heard(self._stored.generation if known else -1)))

    async def _carried_out(self, work: Callable[[KeyOrders], Told]) -> Told:
        def carry_out() -> Told:
            from penstock.gateway.key_orders import KeyOrders  # noqa: PLC0415 - the database's library, see places.py

            return work(KeyOrders(self._line.config, self._places.store()))

        return await asyncio.to_thread(carry_out)

    async def _known(self, request: Request, what: str, told: Told) -> Response:
        """The answer to an order, once every worker has heard of it."""
        late = [] if await self._stored.again() else ["this one"]
        heard = await asyncio.gather(*(self._peers.post(path, "/keys/again") for path in self._peers.paths))
        late += [
            path for path, one in zip(self._peers.paths, heard, strict=True) if _told(one) < self._stored.generation
        ]
        log.info(
            "keys changed", what=what, key=told["id"], name=told["name"], tenant=told["tenant"], who=request.state.who
        )
        if late:
            log.error("workers that may not know of it yet", admin=late)
        return JSONResponse({**told, "late": late})


class _Heard(msgspec.Struct):
    generation: int


def _told(answer: bytes | None) -> int:
    try:
        return msgspec.json.decode(answer or b"{}", type=_Heard).generation
    except msgspec.DecodeError:
        return -1
