"""Whether the names that the application asks for are served, and whether a wrong name looks unlike a wrong path (W31)."""

from __future__ import annotations

from penstock.doctor.ask import Answer, Silent
from penstock.doctor.result import Check, Result, ok, unknown, wrong
from penstock.doctor.server import Server

NAME = "model-name"
NOBODYS = "penstock-doctor/no-such-model"
"""Asked for where no name is given, to see how this server refuses."""


def look(server: Server) -> Result:
    if not server.models:
        return unknown(NAME, server, "it lists no models")
    missing = [name for name in server.asked.models if name not in server.models]
    path = f"{server.base}/v1/chat/completions"
    try:
        refused = _ask(server, path, missing[0] if missing else NOBODYS)
        lost = server.line.ask("POST", f"{server.base}/v1/penstock-doctor", key=server.key, body={})
    except Silent as reason:
        return unknown(NAME, server, f"asking for a model: {reason}", f"POST {path}")
    tried = (f"POST {path} for `{missing[0] if missing else NOBODYS}`", f"POST {server.base}/v1/penstock-doctor")
    if missing and refused.status != 200:
        return _not_served(server, missing, refused, lost, tried)
    names = ", ".join(server.models)
    if refused.status == 200:
        return ok(NAME, server, f"it answers for any name; it serves {names}", *tried)
    asked = f"`{', '.join(server.asked.models)}` served; " if server.asked.models else ""
    return ok(NAME, server, f"{asked}an unknown name is refused by its name, a wrong path is not found", *tried)


def _ask(server: Server, path: str, model: str) -> Answer:
    """One token of a chat with a model that is not there: refused before any work is done."""
    body = {"model": model, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}
    return server.line.ask("POST", path, key=server.key, body=body)


def _not_served(server: Server, missing: list[str], refused: Answer, lost: Answer, tried: tuple[str, ...]) -> Result:
    names = ", ".join(missing)
    served = ", ".join(server.models)
    return wrong(
        NAME,
        server,
        f"`{names}` is not served: that is the model's name, and no missing route; `{served}` would be answered",
        f"ask for `{server.models[0]}`, or have the name served: --served-model-name of vLLM, `also` of an alias",
        (
            server.seen(f"{tried[0]} → {refused.told}"),
            server.seen(f"{tried[1]}, a path that nobody has → {lost.told}"),
        ),
        *tried,
    )


CHECK = Check(
    name=NAME,
    rows="W31",
    title="a model name that is not served, told apart from a wrong path",
    asks="`POST …/v1/chat/completions` for a name that is not served; `POST` to a path that nobody has",
    look=look,
)
