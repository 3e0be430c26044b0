"""Who already listens where we want to: an error about a busy port names them.

Asked over HTTP first, because a name says more than a number; then the process is looked up where the system shows it.
Blocking, with a deadline, and only ever about addresses that the configuration lists.
"""

from __future__ import annotations

import errno
import http.client
import json
import socket
from contextlib import suppress
from typing import Final

from penstock.address import Address
from penstock.errors import ConfigError
from penstock.gateway.discover import OUR_HEADER
from penstock.gateway.port_owner import port_owner

DEADLINE: Final = 1.0
LARGEST: Final = 65536


def refuse_busy(address: Address) -> None:
    """ConfigError where somebody listens on this address already; it says who, and what to try."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # Without SO_REUSEPORT, so that another gateway on this port counts as busy; with SO_REUSEADDR, so that closed
        # connections of an earlier run do not.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address.host, address.port))
        except OSError as problem:
            if problem.errno == errno.EADDRINUSE:
                raise ConfigError(
                    f"Listening on {address}: the port is busy, {who(address)} answers there.",
                    hint=f"Stop it, or choose another port with --port or `listen`, for example {free_port(address.host)}.",
                ) from None
            raise ConfigError(
                f"Listening on {address}: {problem.strerror or problem}.",
                hint="Use an address of this machine, and a port above 1023 unless you may use the lower ones.",
            ) from None


def free_port(host: str) -> int:
    """A port that is free now; the caller has to be quick."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def who(address: Address) -> str:
    """`Ollama 0.12.0 (process 4711, ollama)`, as much of it as can be found out."""
    host = address.host
    if address.wildcard:
        host = "::1" if ":" in host else "127.0.0.1"
    name = _asked(host, address.port)
    process = port_owner(address.port)
    if name and process:
        return f"{name} ({process})"
    return name or process or "somebody who does not speak HTTP"


def _asked(host: str, port: int) -> str:
    """What the listener calls itself; empty where it does not speak HTTP."""
    server = ""
    for path, product in (("/api/version", "Ollama"), ("/version", "vLLM")):
        try:
            status, headers, body = _get(host, port, path)
        except (OSError, http.client.HTTPException):
            return server
        if OUR_HEADER in headers:
            return "another Penstock"
        server = server or headers.get("server", "an HTTP server")
        version = _version(body) if status == 200 else ""
        if version:
            return f"{product} {version}"
    return server


def _version(body: bytes) -> str:
    with suppress(ValueError):
        said = json.loads(body)
        if isinstance(said, dict) and isinstance(said.get("version"), str):
            return str(said["version"])
    return ""


def _get(host: str, port: int, path: str) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection(host, port, timeout=DEADLINE)
    try:
        connection.request("GET", path, headers={"accept": "application/json"})
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read(LARGEST)
    finally:
        connection.close()
