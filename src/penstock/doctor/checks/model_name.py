"""Whether the names that the application asks for are served, and whether a wrong name looks unlike a wrong path (W31)."""

from __future__ import annotations

from typing import Final

from penstock.doctor.ask import Answer, Silent
from penstock.doctor.result import Check, Result, ok, unknown, wrong
from penstock.doctor.server import Server

NAME = "model-name"
NOBODYS: Final = "penstock-doctor/no-such-model"
"""Asked for where no name is given, to see how this server refuses."""
MOST: Final = 5
"""Names that are tried when they are not in the list: some servers answer for more than they list."""


def look(server: Server) -> Result:
    if not server.models:
        return unknown(NAME, server, "it lists no models")
    unlisted = [name for name in server.asked.models if name not in server.models][:MOST]
    path = f"{server.base}/v1/chat/completions"
    lost_path = f"{server.base}/v1/penstock-doctor"
    tried = (*(f"POST {path} for `{name}`" for name in unlisted or [NOBODYS]), f"POST {lost_path}")
    try:
        answers = {name: _ask(server, path, name) for name in unlisted or [NOBODYS]}
        lost = server.line.ask("POST", lost_path, key=server.key, body={})
    except Silent as reason:
        return unknown(NAME, server, f"asking for a model: {reason}", *tried)
    refused = {name: answer for name, answer in answers.items() if answer.status in {400, 404}}
    if unlisted and refused:
        return _not_served(server, path, refused, lost, tried)
    if NOBODYS in answers and answers[NOBODYS].status == 200:
        return ok(NAME, server, f"it answers for any name; it serves {', '.join(server.models)}", *tried)
    odd = next((answer for answer in answers.values() if answer.status not in {200, 400, 404}), None)
    if odd:
        return unknown(NAME, server, f"asking for a model: {odd.told}", *tried)
    served = f"`{', '.join(server.asked.models)}` served; " if server.asked.models else ""
    return ok(NAME, server, f"{served}an unknown name is refused by its name, a wrong path is not found", *tried)


def _ask(server: Server, path: str, model: str) -> Answer:
    """One token of a chat with a model that is not listed: nearly always refused before any work is done."""
    body = {"model": model, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}
    return server.line.ask("POST", path, key=server.key, body=body)


def _not_served(server: Server, path: str, refused: dict[str, Answer], lost: Answer, tried: tuple[str, ...]) -> Result:
    """Both answers stand in the evidence: whoever reads them sees which 404 is which."""
    return wrong(
        NAME,
        server,
        f"`{', '.join(refused)}` is not served: that is the model's name, and no missing route; `{', '.join(server.models)}` would be answered",
        f"ask for `{server.models[0]}`, or have the name served: --served-model-name of vLLM, `also` of an alias",
        (
            *(server.seen(f"POST {path} for `{name}` → {answer.told}") for name, answer in refused.items()),
            server.seen(f"{tried[-1]}, a path that nobody has → {lost.told}"),
        ),
        *tried,
    )


CHECK = Check(
    name=NAME,
    rows="W31",
    title="a model name that is not served, told apart from a wrong path",
    asks="`POST …/v1/chat/completions` for a name that is not listed, one token; `POST` to a path that nobody has",
    look=look,
)
