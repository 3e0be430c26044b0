"""Whether a server that other machines reach asks for a key (X16)."""

from __future__ import annotations

from penstock.doctor.result import Check, Result, ok, unknown, wrong
from penstock.doctor.server import Server

NAME = "keys"


def look(server: Server) -> Result:
    tried = f"GET {server.base}/v1/models without a key"
    if server.guarded:
        return ok(NAME, server, "without a key it does not list its models", tried)
    if not server.models:
        return unknown(NAME, server, "it lists no models", tried)
    if not server.exposed:
        return ok(NAME, server, "it asks nobody for a key, and only this machine reaches this address", tried)
    return wrong(
        NAME,
        server,
        "other machines reach this address, and it asks nobody for a key",
        "bind it to 127.0.0.1, or put a gateway with keys in front: `callers` in penstock.yaml",
        (server.seen(f"{tried} → 200, {len(server.models)} models"),),
        tried,
    )


CHECK = Check(
    name=NAME,
    rows="X16",
    title="keys missing on an address that other machines reach",
    asks="`GET …/v1/models` without a key",
    look=look,
)
