"""What the admin socket offers of replicas: who is in the fleet, one more, one less."""

from __future__ import annotations

import msgspec
import structlog
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from penstock.errors import BrokenAnswer, EngineFault, EngineRefused
from penstock.gateway import replicas
from penstock.gateway.admin_switches import asked, told
from penstock.gateway.backend import Backend
from penstock.gateway.fleet import Fleet
from penstock.gateway.peers import Peers
from penstock.gateway.probe import GLANCES, Sighting
from penstock.gateway.roll import Roll
from penstock.gateway.upstream import Origin
from penstock.types import Kind

log = structlog.stdlib.get_logger("penstock.fleet")

LOOK = 2.0
"""Seconds for a look at a replica before it is added."""


class Order(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which backend, and the replica: its URL, or to remove it its name."""

    backend: str
    replica: str


class Replicas:
    """The routes."""

    def __init__(self, fleet: Fleet, roll: Roll, peers: Peers) -> None:
        self._fleet = fleet
        self._roll = roll
        self._peers = peers

    def routes(self) -> list[Route]:
        """All of them."""
        return [
            Route("/replicas", told(self._list), methods=["GET"]),
            Route("/replicas/add", told(self._add), methods=["POST"]),
            Route("/replicas/remove", told(self._remove), methods=["POST"]),
            Route("/replicas/again", told(self._again), methods=["POST"]),
        ]

    async def _list(self, request: Request) -> Response:
        del request
        return self._view()

    async def _add(self, request: Request) -> Response:
        order = await asked(request, Order)
        await self._fits(order)
        await self._roll.add(order.backend, order.replica)
        return await self._done(request, "replica added", order)

    async def _remove(self, request: Request) -> Response:
        order = await asked(request, Order)
        await self._roll.remove(order.backend, order.replica)
        return await self._done(request, "replica removed", order)

    async def _again(self, request: Request) -> Response:
        del request
        await self._roll.look()
        return self._view()

    async def _done(self, request: Request, what: str, order: Order) -> Response:
        log.info(what, backend=order.backend, replica=order.replica, who=request.state.who)
        for path in self._peers.paths:
            # those that do not hear it see it in the file soon
            await self._peers.post(path, "/replicas/again")
        return self._view()

    async def _fits(self, order: Order) -> None:
        """Refuse what answers and is no engine of this kind; one that is not up yet may be added."""
        settings = self._fleet.settings
        # the whole order first: a URL that cannot be a replica is not even asked
        replicas.with_replica(settings, self._fleet.lists, order.backend, order.replica)
        url = replicas.checked(settings, order.replica, "Adding a replica")
        backend = settings.backends[order.backend]
        origin = Origin(url, connect_timeout=LOOK, tls=backend.tls)
        try:
            seen = await GLANCES[backend.kind](origin, self._key(order.backend), LOOK, None)
        except (BrokenAnswer, EngineRefused) as fault:
            raise replicas.misfit(
                order.backend, url, f"it is no engine of the kind {backend.kind}: {fault.message}"
            ) from None
        except EngineFault:
            return
        finally:
            origin.close()
        self._check_models(order.backend, url, backend.kind, seen)

    def _check_models(self, name: str, url: str, kind: Kind, seen: Sighting) -> None:
        wanted = {
            target.model
            for alias in self._fleet.settings.aliases.values()
            for target in alias.targets
            if name in target.backends
        }
        if kind is not Kind.OLLAMA and seen.models and wanted and not wanted & seen.models.keys():
            shown = ", ".join(sorted(seen.models)[:5])
            raise replicas.misfit(name, url, f"it serves {shown} and none of {', '.join(sorted(wanted))}")

    def _key(self, name: str) -> bytes:
        return next((one.key_header for one in self._fleet.of((name,))), b"")

    def _view(self) -> Response:
        shown = {name: [_shown(one) for one in self._fleet.of((name,))] for name in self._fleet.settings.backends}
        return JSONResponse({"backends": shown})


def _shown(backend: Backend) -> dict[str, object]:
    return {
        "name": backend.name,
        "url": backend.settings.url,
        "kind": backend.kind.value,
        "state": backend.state.value,
        "reason": backend.reason,
        "active": backend.busy,
    }
