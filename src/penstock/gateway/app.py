"""Everything that is not the hot lane, as one Starlette application: lists, health, metrics, and who says no.

Handlers only read the line and its fleet. Model routes are mounted too, behind the reference lane.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import msgspec
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from penstock.errors import BadRequest, PenstockError, TooLarge, UnknownRoute, Unsupported, WrongMethod
from penstock.gateway import catalogue, metrics, outside, pages, readiness
from penstock.gateway.admin_keys import Keys
from penstock.gateway.asgi import ModelRoute
from penstock.gateway.line import Line, wanted
from penstock.gateway.peers import Peers
from penstock.gateway.receipt_route import ReceiptRoutes
from penstock.gateway.responses import ResponseRoutes
from penstock.protocols import ollama_catalogue, refusal
from penstock.protocols.table import ROUTES, face_of
from penstock.types import Caller

Handler = Callable[[Request], Awaitable[Response]]

NOT_SERVED = {
    "/api/pull": "Load models into the engines themselves: `ollama pull` on that server, or a new vLLM replica.",
    "/api/push": "Push from the Ollama server itself.",
    "/api/create": "Create the model on the Ollama server itself, and name it in an alias of penstock.yaml.",
    "/api/copy": "Give the model a second name with `also` in penstock.yaml.",
    "/api/delete": "Remove the alias from penstock.yaml, and the model on the engine itself.",
    "/api/blobs/{digest:path}": "Blobs belong to models that are created on the Ollama server itself.",
}
SMALL_BODY = 64 * 1024
_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]


def build(line: Line, peers: Peers, keys: Keys | None = None) -> ASGIApp:
    """The application of every listener of `listen`; with `keys` they can be administered where that is allowed."""
    handlers = Handlers(line, peers)
    stuck = ResponseRoutes(line)
    routes = [
        Route("/", handlers.root, methods=["GET", "HEAD"]),
        *_ops(handlers),
        Route("/v1/models", handlers.guarded(handlers.models), methods=["GET"]),
        Route("/v1/models/{name:path}", handlers.guarded(handlers.model), methods=["GET"]),
        Route("/v1/responses/{id}", handlers.guarded(stuck.one), methods=["GET", "DELETE"]),
        Route("/v1/responses/{id}/cancel", handlers.guarded(stuck.one), methods=["POST"]),
        Route("/receipts/{id}", handlers.guarded(ReceiptRoutes(line).one), methods=["GET"]),
        Route("/api/version", handlers.version, methods=["GET", "HEAD"]),
        Route("/api/tags", handlers.guarded(handlers.tags), methods=["GET", "HEAD"]),
        Route("/api/ps", handlers.guarded(handlers.ps), methods=["GET"]),
        Route("/api/show", handlers.guarded(handlers.show), methods=["POST"]),
        *(
            Route(path, handlers.guarded(_not_served(path, hint)), methods=_METHODS)
            for path, hint in NOT_SERVED.items()
        ),
        *(outside.routes(keys, line, handlers.guarded) if keys is not None else ()),
        *(_ModelMount(path.decode(), ModelRoute(line, route)) for path, route in ROUTES.items()),
    ]
    app = Starlette(routes=routes, exception_handlers={404: _no_route, 405: _no_method, PenstockError: _refused(line)})
    return _Envelope(app, line)


def build_ops(line: Line, peers: Peers) -> ASGIApp:
    """The application of `listen_metrics`: figures and health, no model."""
    return _Envelope(
        Starlette(routes=_ops(Handlers(line, peers), open_figures=True), exception_handlers={404: _no_route}), line
    )


def _ops(handlers: Handlers, *, open_figures: bool = False) -> list[Route]:
    return [
        Route("/livez", handlers.livez, methods=["GET", "HEAD"]),
        Route("/health", handlers.health, methods=["GET", "HEAD"]),
        Route("/ready", handlers.ready, methods=["GET", "HEAD"]),
        Route("/metrics", handlers.metrics if open_figures else handlers.figures, methods=["GET"]),
        Route("/stats", handlers.guarded(handlers.stats), methods=["GET"]),
    ]


class _ModelMount(Route):
    """A model route: POST goes to the reference lane as bare ASGI, anything else is the wrong method."""

    def __init__(self, path: str, app: ModelRoute) -> None:
        super().__init__(path, _unused, methods=["POST"])
        self.app = app


async def _unused(request: Request) -> Response:
    raise UnknownRoute(f"{request.url.path} has no handler of its own.")


class _Envelope:
    """What every answer has: a request id, CORS where it is allowed, and no page of a foreign origin."""

    def __init__(self, app: ASGIApp, line: Line) -> None:
        self._app = app
        self._line = line

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = wanted(scope["headers"])
        scope["penstock.id"] = self._line.request_id(headers)
        origin = headers.get(b"origin")
        if origin is not None and scope["method"] == "OPTIONS":
            await self._preflight(headers, scope)(scope, receive, send)
            return

        async def enveloped(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *pages.hardening(message["headers"])]
                names = {name for name, _ in message["headers"]}
                if b"x-penstock-request-id" not in names:
                    message["headers"].append((b"x-penstock-request-id", scope["penstock.id"]))
                if origin is not None and b"access-control-allow-origin" not in names and self._allows(headers):
                    message["headers"] += [(b"access-control-allow-origin", origin), (b"vary", b"origin")]
            await send(message)

        await self._app(scope, receive, enveloped)

    def _allows(self, headers: dict[bytes, bytes]) -> bool:
        return self._line.allows_origin(
            headers[b"origin"].decode("latin-1"), headers.get(b"host", b"").decode("latin-1")
        )

    def _preflight(self, headers: dict[bytes, bytes], scope: Scope) -> Response:
        if not self._allows(headers):
            return Response(status_code=403, headers={"x-penstock-request-id": scope["penstock.id"].decode()})
        asked = dict(scope["headers"]).get(b"access-control-request-headers", b"").decode("latin-1")
        return Response(
            status_code=204,
            headers={
                "access-control-allow-origin": headers[b"origin"].decode("latin-1"),
                "access-control-allow-methods": "GET, POST, DELETE, OPTIONS",
                "access-control-allow-headers": asked or "authorization, content-type",
                "access-control-max-age": "600",
                "vary": "origin",
                "x-penstock-request-id": scope["penstock.id"].decode(),
            },
        )


class Handlers:
    """One method per route."""

    def __init__(self, line: Line, peers: Peers) -> None:
        self._line = line
        self._peers = peers

    def guarded(self, handler: Handler) -> Handler:
        """A handler only callers reach."""

        async def checked(request: Request) -> Response:
            scope = request.scope
            scope["penstock.caller"] = self._line.identify(wanted(scope["headers"]), scope.get("penstock.certificate"))
            return await handler(request)

        return checked

    async def root(self, request: Request) -> Response:
        """What Ollama's own root says; its CLI and Open WebUI look for it."""
        del request
        return PlainTextResponse("Ollama is running")

    async def livez(self, request: Request) -> Response:
        """The process and its loop are alive."""
        del request
        return JSONResponse({"status": "alive"})

    async def health(self, request: Request) -> Response:
        """Whether the default alias can be served (S2.20, X7)."""
        del request
        name = self._line.names.default
        view = readiness.of_alias(self._line.names.aliases[name], self._line.fleet)
        if view.readiness in {readiness.Readiness.READY, readiness.Readiness.DEGRADED}:
            return JSONResponse({"status": "healthy", "model": name})
        reasons = {one.backend: one.reason for one in view.targets}
        return JSONResponse({"status": view.readiness.value, "model": name, "reasons": reasons}, status_code=503)

    async def ready(self, request: Request) -> Response:
        """Every alias in one word, and why (H5)."""
        del request
        views = {name: readiness.of_alias(one, self._line.fleet) for name, one in self._line.names.aliases.items()}
        words = {view.readiness for view in views.values()}
        good = words <= {readiness.Readiness.READY, readiness.Readiness.DEGRADED}
        overall = next((word for word in _WORST_FIRST if word in words), readiness.Readiness.READY)
        body = {"status": overall.value, "draining": self._line.draining, "aliases": msgspec.to_builtins(views)}
        return JSONResponse(body, status_code=200 if good and not self._line.draining else 503)

    async def stats(self, request: Request) -> Response:
        """Active requests, per backend (S3.23)."""
        del request
        backends = {
            name: {
                "kind": one.kind.value,
                "state": one.state.value,
                "active": one.busy,
                "running": one.load.running,
                "waiting": one.load.waiting,
                "kv_cache_usage": one.load.kv_use,
                "version": one.sighting.version,
            }
            for name, one in self._line.fleet.backends.items()
        }
        return JSONResponse(
            {
                "active_requests": len(self._line.active),
                "queued_requests": self._line.admission.waiting,
                "uptime_seconds": round(time.monotonic() - self._line.began, 3),
                "backends": backends,
            }
        )

    async def metrics(self, request: Request) -> Response:
        """Prometheus text of all workers, rendered off the loop."""
        del request
        snapshots = [self._line.snapshot(), *await self._peers.snapshots()]
        text = await asyncio.to_thread(lambda: metrics.render(metrics.merged(snapshots)))
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    async def figures(self, request: Request) -> Response:
        """The same where models are served: beyond this machine they are for keys that may see them."""
        if not pages.from_here(request.scope):
            scope = request.scope
            pages.check_figures(self._line.identify(wanted(scope["headers"]), scope.get("penstock.certificate")))
        return await self.metrics(request)

    async def models(self, request: Request) -> Response:
        """OpenAI's list, with `max_model_len` as vLLM gives it."""
        return _json(catalogue.openai_list(self._line, _caller(request)))

    async def model(self, request: Request) -> Response:
        """One of them."""
        return _json(catalogue.openai_model(self._line, _caller(request), request.path_params["name"]))

    async def version(self, request: Request) -> Response:
        """The Ollama version whose API this is."""
        del request
        return _json(ollama_catalogue.version(self._line.config.ollama.version))

    async def tags(self, request: Request) -> Response:
        """Ollama's list."""
        return _json(ollama_catalogue.tags(catalogue.listed(self._line, _caller(request))))

    async def ps(self, request: Request) -> Response:
        """Ollama's list of loaded models: those a request would find warm."""
        return _json(ollama_catalogue.ps(catalogue.running(self._line, _caller(request))))

    async def show(self, request: Request) -> Response:
        """Ollama's details of one model."""
        body = await _small_body(request)
        try:
            asked = msgspec.json.decode(body, type=_Show) if body else _Show()
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise BadRequest(f"Reading the request body: {error}.") from None
        name = asked.model or asked.name
        if not name:
            raise BadRequest("model is required")
        return _json(ollama_catalogue.show(catalogue.listed_one(self._line, _caller(request), name)))


def _caller(request: Request) -> Caller:
    caller: Caller = request.scope["penstock.caller"]
    return caller


class _Show(msgspec.Struct):
    model: str = ""
    name: str = ""


_WORST_FIRST = (
    readiness.Readiness.UNAVAILABLE,
    readiness.Readiness.DOWNLOADING,
    readiness.Readiness.STARTING,
    readiness.Readiness.DEGRADED,
)


def _json(body: bytes) -> Response:
    return Response(body, media_type="application/json")


async def _small_body(request: Request) -> bytes:
    parts: list[bytes] = []
    size = 0
    try:
        async for part in request.stream():
            size += len(part)
            if size > SMALL_BODY:
                raise TooLarge(f"Reading the request: its body passes {SMALL_BODY} bytes.")
            parts.append(part)
    except ClientDisconnect:
        raise BadRequest("Reading the request: its client left before the end of the body.") from None
    return b"".join(parts)


def _not_served(path: str, hint: str) -> Handler:
    async def refuse(request: Request) -> Response:
        del request
        raise Unsupported(f"{path.partition('{')[0].rstrip('/')} is not served by a gateway.", hint=hint)

    return refuse


def _refusal(request: Request, error: PenstockError) -> Response:
    headers = {"retry-after": str(error.retry_after)} if error.retry_after is not None else None
    body = refusal.body(face_of(request.url.path), error)
    return Response(body, status_code=error.status, headers=headers, media_type="application/json")


def _refused(line: Line) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def refuse(request: Request, error: Exception) -> Response:
        if not isinstance(error, PenstockError):
            raise error
        line.metrics.count("penstock_refused", error.code)
        return _refusal(request, error)

    return refuse


async def _no_route(request: Request, error: Exception) -> Response:
    del error
    message = f"There is no route {request.url.path[:200]!r} here."
    hint = "Routes begin with /v1/ (OpenAI, Anthropic) or /api/ (Ollama); a doubled /v1 is a common slip."
    return _refusal(request, UnknownRoute(message, hint=hint))


async def _no_method(request: Request, error: Exception) -> Response:
    del error
    return _refusal(request, WrongMethod(f"{request.url.path[:200]} does not take {request.method}."))
