"""Who sees the figures of everybody, and what HTML is sent with."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message
from tests.gateway.fleets import Still, config, vllm
from tests.gateway.memory import Kept

from penstock.config_auth import CallerEntry
from penstock.gateway import app, pages
from penstock.gateway.line import Line
from penstock.gateway.peers import Peers

KEYS = {name: f"sk-{name}" for name in ("scraper", "user")}
SCOPES = {"scraper": ("admin",), "user": ("*",)}


@pytest_asyncio.fixture
async def line() -> AsyncIterator[Line]:
    """One backend, one alias, and two callers."""
    callers = {
        name: CallerEntry(tenant="t", key_sha256=hashlib.sha256(key.encode()).hexdigest(), scopes=SCOPES[name])
        for name, key in KEYS.items()
    }
    tree = msgspec.structs.replace(config({"b": vllm()}, [(["b"], "m")]), callers=callers)
    fleet = Still(tree)
    yield Line(tree, fleet, Kept())
    fleet.close()


async def status(application: ASGIApp, server: str, key: str = "") -> int:
    """Of a GET of /metrics that came in on this address."""
    return (await asked(application, "/metrics", server, key))[0]


async def asked(application: ASGIApp, path: str, server: str, key: str = "") -> tuple[int, dict[str, str]]:
    headers = [(b"authorization", f"Bearer {key}".encode())] if key else []
    scope: dict[str, Any] = {
        "type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "query_string": b"", "headers": headers,
        "server": (server, 8000), "client": ("10.0.0.9", 1), "scheme": "http", "root_path": "", "http_version": "1.1",
    }  # fmt: skip
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    await application(scope, receive, send)
    return sent[0]["status"], {name.decode(): value.decode() for name, value in sent[0]["headers"]}


async def test_beyond_this_machine_figures_are_for_keys_that_may_see_them(line: Line) -> None:
    """They name every tenant, alias and engine."""
    served = app.build(line, Peers("a.sock", 0, 1))
    assert await status(served, "127.0.0.1") == 200
    assert await status(served, "::1") == 200
    assert await status(served, "10.0.0.5") == 401
    assert await status(served, "10.0.0.5", "sk-wrong") == 401
    assert await status(served, "10.0.0.5", KEYS["user"]) == 403
    assert await status(served, "10.0.0.5", KEYS["scraper"]) == 200


async def test_an_address_that_is_for_them_shows_them_to_everybody(line: Line) -> None:
    """`listen_metrics` is opened for scrapers and serves no model."""
    assert await status(app.build_ops(line, Peers("a.sock", 0, 1)), "10.0.0.5") == 200


async def page(request: Request) -> HTMLResponse:
    del request
    return HTMLResponse("<p>hello</p>")


async def own(request: Request) -> HTMLResponse:
    del request
    return HTMLResponse("<p>hello</p>", headers={"content-security-policy": "default-src 'self'"})


async def data(request: Request) -> JSONResponse:
    del request
    return JSONResponse({})


@pytest.mark.parametrize(("path", "policy"), [("/page", "default-src 'none'"), ("/own", "default-src 'self'")])
async def test_html_takes_nothing_from_elsewhere_and_stands_in_no_frame(line: Line, path: str, policy: str) -> None:
    inner = Starlette(routes=[Route("/page", page), Route("/own", own), Route("/data", data)])
    application = app._Envelope(inner, line)
    _, headers = await asked(application, path, "127.0.0.1")
    assert headers["content-security-policy"].startswith(policy)
    assert {name.decode() for name, _ in pages.HEADERS} <= headers.keys()
    assert headers["x-frame-options"] == "DENY"
    _, plain = await asked(application, "/data", "127.0.0.1")
    assert "content-security-policy" not in plain
