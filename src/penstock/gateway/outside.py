"""Administration of keys over HTTP, for callers with the scope `admin`: `/admin/keys` and what stands below it.

Where the configuration does not allow it, which it never does of itself beyond loopback, there is no such route, whoever
asks. Everybody on the machine who has no key is no administrator: that is what the admin socket is for.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from penstock.address import Address
from penstock.errors import UnknownRoute
from penstock.gateway.admin_keys import Keys
from penstock.gateway.auth import check_admin
from penstock.gateway.line import Line

Handler = Callable[[Request], Awaitable[Response]]


def routes(keys: Keys, line: Line, guarded: Callable[[Handler], Handler]) -> list[Route]:
    """The routes; `guarded` lets callers alone through, and says who it is."""
    return [
        Route(f"/admin{path}", _allowed(line, guarded(_administered(handler))), methods=[method])
        for path, method, handler in keys.orders()
    ]


def _allowed(line: Line, handler: Handler) -> Handler:
    async def looked(request: Request) -> Response:
        where, server = line.config.auth.admin, request.scope.get("server")
        near = server is not None and Address(str(server[0]), 0).loopback
        if where == "off" or (where == "loopback" and not near):
            # In the words of a path that nobody has heard of.
            raise UnknownRoute(f"There is no route {request.url.path[:200]!r} here.")
        return await handler(request)

    return looked


def _administered(handler: Handler) -> Handler:
    async def checked(request: Request) -> Response:
        caller = request.scope["penstock.caller"]
        check_admin(caller)
        request.state.who = f"{caller.name} ({caller.key_id})"
        return await handler(request)

    return checked
