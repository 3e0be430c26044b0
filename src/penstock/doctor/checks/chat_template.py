"""Whether a chat can be put to the model at all: a base model has no chat template (X6)."""

from __future__ import annotations

from penstock.doctor.ask import Answer, Silent
from penstock.doctor.result import Check, Result, ok, unknown, wrong
from penstock.doctor.server import Server

NAME = "chat-template"
PATIENCE = 5.0
"""Seconds for a first token of an idle engine."""


def look(server: Server) -> Result:
    names = [name for name in server.asked.models if name in server.models] or list(server.models[:1])
    if not names:
        return unknown(NAME, server, "it lists no models")
    tried: list[str] = []
    for name in names:
        try:
            answer, question = _asked(server, name)
        except Silent as reason:
            return unknown(NAME, server, f"asking `{name}`: {reason}", *tried)
        tried.append(question)
        if answer.status == 400 and b"chat template" in answer.body.lower():
            return wrong(
                NAME,
                server,
                f"`{name}` has no chat template: every chat is refused",
                "serve the model's instruct version, or start vLLM with --chat-template FILE",
                (server.seen(f"{question} → {answer.told}"),),
                *tried,
            )
        if answer.status != 200:
            return unknown(NAME, server, f"{question} → {answer.told}", *tried)
    return ok(NAME, server, f"`{', '.join(names)}` takes a chat", *tried)


def _asked(server: Server, model: str) -> tuple[Answer, str]:
    """The template alone where the server has a tokenizer route, which generates nothing; else one token of a chat."""
    body = {"model": model, "messages": [{"role": "user", "content": "Hi"}]}
    if server.kind == "vllm":
        answer = server.line.ask("POST", f"{server.base}/tokenize", key=server.key, body=body)
        if answer.status != 404:
            return answer, f"POST {server.base}/tokenize for `{model}`"
    path = f"{server.base}/v1/chat/completions"
    answer = server.line.ask("POST", path, key=server.key, body=body | {"max_tokens": 1}, limit=PATIENCE)
    return answer, f"POST {path} for `{model}`"


CHECK = Check(
    name=NAME,
    rows="X6",
    title="a model without a chat template",
    asks="`POST /tokenize` with a message (vLLM), else one token of a chat",
    look=look,
)
