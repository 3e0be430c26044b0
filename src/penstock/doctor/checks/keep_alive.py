"""Whether the server closes idle connections before its clients do (S1.15).

A client that sends on a connection which the server is just closing gets no answer. Measured: one connection, one answer, and
then silence for as long as the clients' pools keep a connection, and a second more.
"""

from __future__ import annotations

import http.client
import re
import time
from typing import Final

from penstock.doctor.ask import Silent, talk
from penstock.doctor.result import Check, Result, ok, unknown, wrong
from penstock.doctor.server import Server

NAME = "keep-alive"
MARGIN: Final = 1.0
"""Seconds by which a server must outlast the clients' pools."""


def look(server: Server) -> Result:
    path = f"{server.base}/v1/models"
    pool = server.asked.pool_idle
    tried = f"GET {path}, then up to {pool + MARGIN:g} s without a word on that connection"
    try:
        connection = server.line.connect(server.line.deadline.within())
        try:
            lasted, told = _measured(server, connection, path, pool + MARGIN)
        finally:
            connection.close()
    except (OSError, http.client.HTTPException, Silent) as broken:
        return unknown(NAME, server, f"{tried}: {broken}", tried)
    if lasted is None:
        return ok(NAME, server, told, tried)
    return wrong(
        NAME,
        server,
        f"idle connections are closed after {lasted:.1f} s, and clients keep them for {pool:g} s: now and then a request is sent into a closed one",
        "let clients drop idle connections sooner (httpx.Limits(keepalive_expiry=2); requests: retry once), or start vLLM with"
        " VLLM_HTTP_TIMEOUT_KEEP_ALIVE=75; Penstock's own pools do the former",
        (server.seen(f"GET {path}, closed by the server after {lasted:.1f} s of silence"),),
        tried,
    )


def _measured(
    server: Server, connection: http.client.HTTPConnection, path: str, longest: float
) -> tuple[float | None, str]:
    """Seconds until the server closed; None with the reason where there is no race."""
    answer = talk(connection, "GET", path, key=server.key)
    if connection.sock is None:
        return None, "it closes each connection after its answer and says so: nothing is used again"
    announced = re.search(r"timeout=(\d+)", answer.headers.get("keep-alive", ""))
    if announced:
        seconds = float(announced[1])
        return (
            (seconds, "") if seconds < longest else (None, f"it says that it keeps idle connections for {seconds:g} s")
        )
    begin = time.monotonic()
    connection.sock.settimeout(server.line.deadline.within(longest))
    try:
        connection.sock.recv(1)
    except TimeoutError:
        waited = time.monotonic() - begin
        enough = waited >= longest - 0.1
        return None, f"still open after {waited:.1f} s{'' if enough else ', as long as there was time to look'}"
    return time.monotonic() - begin, ""


CHECK = Check(
    name=NAME,
    rows="S1.15",
    title="the server closes idle connections before its clients do",
    asks="`GET …/v1/models`, then silence on that connection for the clients' keep-alive and a second",
    look=look,
    alone=True,
)
