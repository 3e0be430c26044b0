"""Whether the URL leads an application to the API: a wrong path, and `/v1` twice (X2, W31)."""

from __future__ import annotations

from penstock.doctor.result import Check, Result, ok, unknown, wrong
from penstock.doctor.server import Server

NAME = "path"


def look(server: Server) -> Result:
    given, listing = server.given, server.listing
    path = server.given_path
    tried = f"GET {path}"
    if given is None or listing is None:
        return unknown(NAME, server, "nothing to compare")
    if given is listing:
        if given.status == 200 and server.models:
            return ok(NAME, server, f"{tried} lists {len(server.models)} models", tried)
        if given.status in {401, 403}:
            return unknown(NAME, server, f"it asks for a key: {given.told}", tried)
        what = f"nothing at this URL lists models: GET {path} answers {given.status}"
        mend = "give the base URL of an OpenAI-compatible API, with or without /v1 at its end"
        return wrong(NAME, server, what, mend, (server.seen(f"GET {path} → {given.told}"),), tried)
    right = f"{server.line.root}{server.base}/v1"
    seen = (
        server.seen(f"GET {path} → {given.told}"),
        server.seen(f"GET {server.base}/v1/models → {listing.status}, {len(server.models)} models"),
    )
    twice = "/v1/v1/" in path
    what = (
        f"/v1 stands twice: applications ask for {path}"
        if twice
        else f"a wrong path: applications ask for {path}, where the API is not"
    )
    return wrong(NAME, server, what, f"set the base URL to {right}", seen, tried, f"GET {server.base}/v1/models")


CHECK = Check(
    name=NAME,
    rows="X2, W31",
    title="wrong path, `/v1` twice",
    asks="`GET …/v1/models` as an application would, then at the root",
    look=look,
)
