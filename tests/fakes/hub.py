"""A model hub on a loopback port: the list of a repository's files, and the files, with the hub's own redirects and ranges.

Files are served as the real hub serves large ones: `resolve` redirects to a storage host (a second server here) whose URL is
signed, so a token that arrives there is a leak. `Faults` says what goes wrong.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass(slots=True)
class Faults:
    """What the hub does wrong; counts go down as they happen."""

    cuts: list[int] = field(default_factory=list)
    """After how many bytes each of the next downloads breaks off."""
    busy: int = 0
    """How many of the next downloads are answered with 503."""
    damage: bool = False
    ignore_ranges: bool = False
    surplus: bytes = b""


@dataclass(slots=True)
class Hub:
    """One repository, and what was asked of it."""

    repository: str
    files: dict[str, bytes]
    token: str = ""
    faults: Faults = field(default_factory=Faults)
    asked: list[str] = field(default_factory=list)
    """Every request as `METHOD /path [range]`, the storage host's beginning with `storage`."""
    leaked: list[str] = field(default_factory=list)
    url: str = ""
    storage: str = ""

    def listing(self) -> dict[str, object]:
        siblings = []
        for name, content in self.files.items():
            if name.endswith(".gguf"):
                sha = hashlib.sha256(content).hexdigest()
                large = {"sha256": sha, "size": len(content), "pointerSize": 134}
                siblings.append({"rfilename": name, "size": len(content), "blobId": "0" * 40, "lfs": large})
            else:
                sha = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
                siblings.append({"rfilename": name, "size": len(content), "blobId": sha})
        return {"id": self.repository, "sha": COMMIT, "siblings": siblings}


def _hub_of(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Front(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            hub.asked.append(f"GET {self.path}")
            if hub.token and self.headers.get("Authorization") != f"Bearer {hub.token}":
                self.send_error(401)
            elif self.path == f"/api/models/{hub.repository}/revision/main?blobs=true":
                body = json.dumps(hub.listing()).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
            elif match := re.fullmatch(f"/{hub.repository}/resolve/{COMMIT}/(.+)", self.path):
                self.send_response(302)
                self.send_header("Location", f"{hub.storage}/{match[1]}?signature=abc")
                self.send_header("Content-Length", "0")
                self.end_headers()
            else:
                self.send_error(404)

        def log_message(self, *_: object) -> None:
            pass

    return Front


def _storage_of(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Storage(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            hub.asked.append(f"storage {self.path.partition('?')[0]} {self.headers.get('Range', '')}".strip())
            hub.leaked += self.headers.get_all("Authorization", [])
            if hub.faults.busy:
                hub.faults.busy -= 1
                self.send_error(503)
                return
            content = hub.files[self.path.removeprefix("/").partition("?")[0]]
            content = bytes(byte ^ 1 for byte in content) if hub.faults.damage else content
            self._send(content, self.headers.get("Range", ""))

        def _send(self, content: bytes, wanted: str) -> None:
            match = None if hub.faults.ignore_ranges else re.fullmatch(r"bytes=(\d+)-", wanted)
            start = int(match[1]) if match else 0
            self.send_response(206 if match else 200)
            if match:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            body = content[start:] + hub.faults.surplus
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: hub.faults.cuts.pop(0)] if hub.faults.cuts else body)
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    return Storage


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """The hub and its storage host, for as long as the block runs."""
    servers = [ThreadingHTTPServer(("127.0.0.1", 0), kind(hub)) for kind in (_hub_of, _storage_of)]
    threads = [threading.Thread(target=server.serve_forever, args=(0.05,)) for server in servers]
    hub.url, hub.storage = (f"http://127.0.0.1:{server.server_address[1]}" for server in servers)
    for thread in threads:
        thread.start()
    try:
        yield hub
    finally:
        for server, thread in zip(servers, threads, strict=True):
            server.shutdown()
            thread.join()
            server.server_close()
