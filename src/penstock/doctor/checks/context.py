"""Whether the context is as long as the application needs (S0.11, H4).

Compared with `--needs`; where that is not given, an engine is compared with 4096 tokens, the smallest window that any of the
documents works with, and a gateway is not judged, because its aliases are what they are on purpose.
"""

from __future__ import annotations

from penstock.doctor.result import Check, Result, ok, unknown, wrong
from penstock.doctor.server import ENGINES, NEEDS, Server

NAME = "context"


def look(server: Server) -> Result:
    tried = f"GET {server.base}/v1/models"
    told = {name: window for name, window in server.windows.items() if window}
    wanted = {name: window for name, window in told.items() if name in server.asked.models} or told
    if not wanted:
        return unknown(NAME, server, "it does not tell how long its models' contexts are", tried)
    listed = ", ".join(f"{name} {window}" for name, window in wanted.items())
    needs = server.asked.needs or (NEEDS if server.kind in ENGINES else None)
    if needs is None:
        return ok(NAME, server, f"tokens: {listed}; --needs says what to compare with", tried)
    short = {name: window for name, window in wanted.items() if window < needs}
    if not short:
        return ok(NAME, server, f"tokens: {listed}; {needs} needed", tried)
    names = ", ".join(f"`{name}` has {window}" for name, window in short.items())
    return wrong(
        NAME,
        server,
        f"the context is too short: {names} of {needs} tokens",
        "start vLLM with a larger --max-model-len where the model and the memory allow it, or trim prompts (fit() of penstock.client)",
        tuple(server.seen(f"{tried} → {name}: max_model_len {window}") for name, window in short.items()),
        tried,
    )


CHECK = Check(
    name=NAME,
    rows="S0.11, H4",
    title="a context that is too short",
    asks="`GET …/v1/models`",
    look=look,
)
