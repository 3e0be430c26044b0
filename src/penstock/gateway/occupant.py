"""Who sits on a port we wanted: asked over HTTP, in the words a person would use. Blocking, with a deadline."""

from __future__ import annotations

import errno
import http.client
import socket

from penstock.address import Address
from penstock.errors import ConfigError
from penstock.gateway.discover import OUR_HEADER
from penstock.gateway.port_owner import port_owner

TIMEOUT = 1.0
LIMIT = 64 * 1024


def refuse_busy(address: Address) -> None:
    """`ConfigError` where somebody listens on this address already; it says who, and what to try."""
    with socket.socket(socket.AF_INET6 if ":" in address.host else socket.AF_INET, socket.SOCK_STREAM) as probe:
        # Without SO_REUSEPORT, so that another gateway on this port counts as busy; with SO_REUSEADDR, so that closed
        # connections of an earlier run do not.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address.host, address.port))
        except OSError as problem:
            if problem.errno != errno.EADDRINUSE:
                msg = f"Listening on {address}: {problem.strerror or problem}."
                hint = "Use an address of this machine, and a port above 1023 unless you may use the lower ones."
                raise ConfigError(msg, hint=hint) from None
            msg = f"Listening on {address}: the port is busy. {occupant(address)}"
            free = _free_port(address.host)
            hint = f"Stop it, or choose another port: `penstock up --port {free}`, or `listen` in penstock.yaml."
            raise ConfigError(msg, hint=hint) from None


def occupant(address: Address) -> str:
    """One sentence about who answers there."""
    process = port_owner(address.port)
    return f"{_asked(address)} answers there{f' ({process})' if process else ''}."


def _asked(address: Address) -> str:
    headers, body = _ask(address, "/")
    if headers is None:
        return "Something that does not speak HTTP"
    if OUR_HEADER in headers:
        return "Another Penstock"
    if body.startswith(b"Ollama is running"):
        return "Ollama"
    _, models = _ask(address, "/v1/models")
    if b'"owned_by":"vllm"' in models.replace(b" ", b""):
        return "A vLLM server"
    server = headers.get("server", "")
    return f"An HTTP server ({server})" if server else "An HTTP server"


def _ask(address: Address, path: str) -> tuple[dict[str, str] | None, bytes]:
    host = address.host
    if address.wildcard:
        host = "::1" if ":" in host else "127.0.0.1"
    connection = http.client.HTTPConnection(host, address.port, timeout=TIMEOUT)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return {name.lower(): value for name, value in answer.getheaders()}, answer.read(LIMIT)
    except (OSError, http.client.HTTPException):
        return None, b""
    finally:
        connection.close()


def _free_port(host: str) -> int:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
