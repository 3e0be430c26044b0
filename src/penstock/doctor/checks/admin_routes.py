"""Which routes of an engine stand open beside its API (W32).

vLLM's --api-key guards a few prefixes only. Each route is probed with HEAD and without a key: a route that is there answers 405
before any of its code runs, one that is guarded 401, one that is not there 404. Nothing is ever carried out.
"""

from __future__ import annotations

from typing import Final

from penstock.doctor.ask import Silent
from penstock.doctor.result import Check, Result, ok, unknown, wrong
from penstock.doctor.server import Server

NAME = "admin-routes"
ASKING: Final = ("/invocations", "/tokenize", "/detokenize", "/generative_scoring", "/pooling", "/score")
"""They put the model to work."""
CHANGING: Final = (
    "/pause",
    "/sleep",
    "/collective_rpc",
    "/reset_prefix_cache",
    "/update_weights",
    "/abort_requests",
    "/start_profile",
    "/scale_elastic_ep",
    "/v1/load_lora_adapter",
)
"""They change the server."""
TELLING: Final = ("/metrics", "/version", "/load", "/server_info", "/openapi.json")
"""They tell about it."""


def look(server: Server) -> Result:
    tried = f"HEAD without a key on {len(ASKING) + len(CHANGING) + len(TELLING)} paths"
    if server.kind == "penstock":
        return ok(NAME, server, "a Penstock forwards model routes and nothing else of an engine's")
    if server.kind != "vllm":
        return unknown(NAME, server, "no vLLM: its routes are not known here")
    try:
        found = {path: _status(server, path) for path in (*CHANGING, *ASKING, *TELLING)}
    except Silent as reason:
        return unknown(NAME, server, f"{tried}: {reason}", tried)
    there = {path: status for path, status in found.items() if status not in {401, 403, 404}}
    open_ = [path for path in (*CHANGING, *ASKING) if path in there]
    if not open_:
        return ok(
            NAME,
            server,
            f"nothing that works or changes the server stands open; it tells {', '.join(there) or 'nothing'}",
            tried,
        )
    if not server.guarded and not server.exposed:
        return ok(NAME, server, f"only this machine reaches this address; open on it: {', '.join(open_)}", tried)
    changing = [path for path in open_ if path in CHANGING]
    what = f"{', '.join(changing)} would change the server, " if changing else ""
    why = "its key guards /v1 and little else: " if server.guarded else "other machines reach this address: "
    return wrong(
        NAME,
        server,
        f"{why}{what}{', '.join(path for path in open_ if path in ASKING) or 'nothing'} would put the model to work, without a key",
        "let nobody but a gateway with a list of allowed paths reach the engine: bind it to 127.0.0.1 or to the gateway's network",
        tuple(server.seen(f"HEAD {path} without a key → {status}") for path, status in there.items()),
        tried,
    )


def _status(server: Server, path: str) -> int:
    return server.line.ask("HEAD", f"{server.base}{path}").status


CHECK = Check(
    name=NAME,
    rows="W32",
    title="routes that stand open beside the API, whatever --api-key says",
    asks="`HEAD`, without a key, on each route of vLLM's that works, changes or tells: no code of theirs runs",
    look=look,
)
