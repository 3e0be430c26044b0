"""The one table of model routes and of who translates what: path → operation, (operation, face, wire) → pairing."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import msgspec

from penstock.protocols import audio, ollama_call, ollama_in, ollama_out, ollama_same, openai
from penstock.protocols.dialect import Call, Idler, Pairing
from penstock.types import Face, Operation, Wire

Decode = Callable[[bytes, str], Call]


class Route(msgspec.Struct, frozen=True):
    """One path that asks a model."""

    path: str
    face: Face
    decode: Decode
    """(body, content type) → `Call`; raises `BadRequest`."""


_OPENAI = {
    "/v1/chat/completions": Operation.CHAT,
    "/v1/completions": Operation.COMPLETION,
    "/v1/embeddings": Operation.EMBEDDING,
    "/v1/responses": Operation.RESPONSES,
    "/v1/messages": Operation.MESSAGES,
    "/v1/messages/count_tokens": Operation.COUNT_TOKENS,
    "/tokenize": Operation.TOKENIZE,
    "/detokenize": Operation.DETOKENIZE,
    "/score": Operation.SCORE,
    "/v1/score": Operation.SCORE,
    "/rerank": Operation.RERANK,
    "/v1/rerank": Operation.RERANK,
    "/v2/rerank": Operation.RERANK,
}
_AUDIO = {
    "/v1/audio/transcriptions": Operation.TRANSCRIPTION,
    "/v1/audio/translations": Operation.TRANSLATION,
    "/v1/audio/speech": Operation.SPEECH,
}
_OLLAMA = ("/api/generate", "/api/chat", "/api/embed", "/api/embeddings")
_ANTHROPIC = frozenset({"/v1/messages", "/v1/messages/count_tokens"})


def _routes() -> dict[bytes, Route]:
    routes = [
        Route(path, Face.ANTHROPIC if path in _ANTHROPIC else Face.OPENAI, partial(openai.decode, operation, path))
        for path, operation in _OPENAI.items()
    ]
    routes += [Route(path, Face.OPENAI, partial(audio.decode, operation, path)) for path, operation in _AUDIO.items()]
    routes += [Route(path, Face.OLLAMA, partial(ollama_call.decode, path)) for path in _OLLAMA]
    return {route.path.encode(): route for route in routes}


ROUTES: dict[bytes, Route] = _routes()
"""Every POST route that asks a model, by path."""

_pass = openai.PassThrough()
_form = audio.Form()

_translated: dict[str, ollama_in.Chat | ollama_in.Generate | ollama_in.Embed | ollama_in.Embeddings] = {
    "/api/chat": ollama_in.Chat(),
    "/api/generate": ollama_in.Generate(),
    "/api/embed": ollama_in.Embed(),
    "/api/embeddings": ollama_in.Embeddings(),
}

IDLERS: dict[str, Idler] = {**_translated}
"""Who answers a path's `load` and `unload` idioms."""

PAIRINGS: dict[tuple[str, Wire], Pairing] = {
    **{(path, Wire.OPENAI): _pass for path in _OPENAI},
    ("/v1/audio/transcriptions", Wire.OPENAI): _form,
    ("/v1/audio/translations", Wire.OPENAI): _form,
    ("/v1/audio/speech", Wire.OPENAI): audio.Speech(),
    ("/v1/chat/completions", Wire.OLLAMA): ollama_out.Chat(),
    ("/v1/completions", Wire.OLLAMA): ollama_out.Completion(),
    ("/v1/embeddings", Wire.OLLAMA): ollama_out.Embedding(),
    # Ollama serves these two itself, under the same paths and in the same shape.
    ("/v1/responses", Wire.OLLAMA): _pass,
    ("/v1/messages", Wire.OLLAMA): _pass,
    **{(path, Wire.OPENAI): pairing for path, pairing in _translated.items()},
    **{(path, Wire.OLLAMA): ollama_same.PassThrough() for path in _OLLAMA},
}
"""Who writes the request of a path for a wire and reads its answer; absent: that wire has no such thing."""


def face_of(path: str) -> Face:
    """Whose words an error about this path is written in, whether or not there is such a route."""
    if path.startswith("/api/"):
        return Face.OLLAMA
    return Face.ANTHROPIC if path.startswith("/v1/messages") else Face.OPENAI
