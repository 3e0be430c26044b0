"""A server for what the scripted engine has no fault for: a key that guards as vLLM's does, open routes, an idle close, a wrong clock.

Routes answer as FastAPI's do: 404 where there is none, 405 for another method, and a key is asked for in front of all that.
"""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

GUARDED = ("/v1", "/v2", "/inference", "/cohere")
MODELS = {"object": "list", "data": [{"id": "org/m", "object": "model", "owned_by": "vllm", "max_model_len": 8192}]}


@dataclass
class Double:
    """How it answers, and what it was asked."""

    routes: dict[tuple[str, str], tuple[int, Any]] = field(
        default_factory=lambda: {
            ("GET", "/v1/models"): (200, MODELS),
            ("GET", "/version"): (200, {"version": "0.33.0"}),
        }
    )
    key: str = ""
    idle: float = 30.0
    """Seconds after which a silent connection is closed."""
    ahead: float = 0.0
    """Seconds by which its clock is wrong."""
    headers: dict[str, str] = field(default_factory=dict)
    hangs: frozenset[str] = frozenset()
    """Paths that get no answer before the test ends."""
    tls: ssl.SSLContext | None = None
    asked: list[tuple[str, str, bool]] = field(default_factory=list)
    """Method, path, and whether a key was sent."""
    done: threading.Event = field(default_factory=threading.Event)
    url: str = ""

    def add(self, *paths: str, method: str = "POST") -> None:
        self.routes |= {(method, path): (200, {}) for path in paths}

    def answer(self, method: str, path: str, key: str) -> tuple[int, Any]:
        self.asked.append((method, path, bool(key)))
        if self.key and path.startswith(GUARDED) and key != f"Bearer {self.key}":
            return 401, {"error": "Unauthorized"}
        if (method, path) in self.routes:
            return self.routes[method, path]
        known = any(path == other for _, other in self.routes)
        return (405, {"detail": "Method Not Allowed"}) if known else (404, {"detail": "Not Found"})


@contextmanager
def serving(double: Double) -> Iterator[Double]:
    """The double on a free port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = double.idle

        def _answer(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            if self.path in double.hangs:
                double.done.wait(20)
            status, body = double.answer(self.command, self.path, self.headers.get("authorization", ""))
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(content)))
            for name, value in double.headers.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        do_GET = do_POST = do_HEAD = do_PUT = do_DELETE = _answer  # noqa: N815 - names that http.server calls

        def date_time_string(self, timestamp: float | None = None) -> str:
            return formatdate((timestamp or time.time()) + double.ahead, usegmt=True)

        def log_message(self, *_: object) -> None:
            """Nothing is printed."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if double.tls:
        server.socket = double.tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    double.url = f"http{'s' if double.tls else ''}://127.0.0.1:{server.server_port}"
    try:
        yield double
    finally:
        double.done.set()
        server.shutdown()
        server.server_close()
        thread.join()
