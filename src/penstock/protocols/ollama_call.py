"""The four Ollama routes that ask a model: body to `Call`, with every way it can be wrong refused in Ollama's words.

Everything that does not depend on the backend is checked here, once; the pairings may then take the body for granted.
Ollama streams unless told not to. Like Ollama we do not look at the content type.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import msgspec

from penstock.errors import BadRequest
from penstock.protocols import json_body, ollama_keys, ollama_words
from penstock.protocols.dialect import Call
from penstock.protocols.ollama_types import (
    ChatRequest,
    EmbeddingsRequest,
    EmbedRequest,
    GenerateRequest,
    Message,
    said,
)
from penstock.types import Face, Operation

T = TypeVar("T")

_TOP = ("model", "messages", "prompt", "input", "stream", "options", "format", "keep_alive", "raw", "system", "tools")
_KEYS = tuple(f'"{name}"'.encode() for name in _TOP)
_REQUESTS = (ChatRequest, GenerateRequest, EmbedRequest, EmbeddingsRequest)
_NAMES = frozenset(name for request in _REQUESTS for name in request.__struct_fields__)
_MESSAGE = frozenset(Message.__struct_fields__)
_chat = msgspec.json.Decoder(ChatRequest)
_generate = msgspec.json.Decoder(GenerateRequest)
_embed = msgspec.json.Decoder(EmbedRequest)
_embeddings = msgspec.json.Decoder(EmbeddingsRequest)
_texts: msgspec.json.Decoder[str | list[str]] = msgspec.json.Decoder(str | list[str])


def decode(path: str, body: bytes, content_type: str) -> Call:
    """The request of one Ollama route; `BadRequest` with the sentence Ollama would answer."""
    return _ROUTES[path](path, body, content_type or "application/json")


def chat_request(body: bytes) -> ChatRequest:
    """A body of `/api/chat`."""
    return _read(_chat, body)


def generate_request(body: bytes) -> GenerateRequest:
    """A body of `/api/generate`."""
    return _read(_generate, body)


def embed_request(body: bytes) -> EmbedRequest:
    """A body of `/api/embed`."""
    return _read(_embed, body)


def embeddings_request(body: bytes) -> EmbeddingsRequest:
    """A body of `/api/embeddings`."""
    return _read(_embeddings, body)


def texts(raw: msgspec.Raw) -> list[str]:
    """What `/api/embed` shall embed; an empty string is nothing to embed, as in Ollama."""
    if not said(raw):
        return []
    try:
        found = _texts.decode(raw)
    except msgspec.ValidationError:
        raise BadRequest(ollama_words.INVALID_INPUT, param="input") from None
    if isinstance(found, str):
        return [found] if found else []
    return found


def _read(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    if not body or body.isspace():
        raise BadRequest(ollama_words.MISSING_BODY)
    found = json_body.decode(decoder, body, _KEYS)
    ollama_keys.check(body, _NAMES, _MESSAGE)
    return found


def _chat_call(path: str, body: bytes, content_type: str) -> Call:
    request = chat_request(body)
    alive = _common(request.model, request.keep_alive, request.options)
    ollama_words.check_think(request.think)
    ollama_words.check_format(request.format)
    ollama_words.check_top_logprobs(request.top_logprobs)
    for message in request.messages or ():
        _check_calls(message)
    stream = request.stream is not False
    idle = None if request.messages else _idle(alive)
    return _call(Operation.CHAT, path, body, content_type, request.model, stream=stream, idle=idle)


def _generate_call(path: str, body: bytes, content_type: str) -> Call:
    request = generate_request(body)
    alive = _common(request.model, request.keep_alive, request.options)
    ollama_words.check_think(request.think)
    ollama_words.check_format(request.format)
    ollama_words.check_top_logprobs(request.top_logprobs)
    if request.raw and (request.template or request.system or request.context):
        raise BadRequest(ollama_words.RAW_MODE)
    stream = request.stream is not False
    idle = None if request.prompt or request.suffix else _idle(alive)
    return _call(Operation.COMPLETION, path, body, content_type, request.model, stream=stream, idle=idle)


def _embed_call(path: str, body: bytes, content_type: str) -> Call:
    request = embed_request(body)
    alive = _common(request.model, request.keep_alive, request.options)
    idle = None if texts(request.input) else _idle(alive)
    return _call(Operation.EMBEDDING, path, body, content_type, request.model, stream=False, idle=idle)


def _embeddings_call(path: str, body: bytes, content_type: str) -> Call:
    request = embeddings_request(body)
    alive = _common(request.model, request.keep_alive, request.options)
    idle = None if request.prompt else _idle(alive)
    return _call(Operation.EMBEDDING, path, body, content_type, request.model, stream=False, idle=idle)


def _common(model: str, keep_alive: msgspec.Raw, options: msgspec.Raw) -> int | None:
    if not model:
        raise BadRequest(ollama_words.MODEL_REQUIRED, param="model")
    ollama_words.options(options)
    return ollama_words.keep_alive(keep_alive)


def _check_calls(message: Message) -> None:
    for call in message.tool_calls or ():
        given = call.function.arguments
        if said(given) and not bytes(given).startswith(b"{"):
            msg = f"Reading the request body: the arguments of the tool call {call.function.name!r} are not an object."
            raise BadRequest(msg, hint="Ollama's API wants them as a JSON object, not as a string.", param="messages")


def _idle(alive: int | None) -> str:
    """Nothing to generate: `keep_alive` below a second unloads, all else loads."""
    return "unload" if alive is not None and alive < 10**9 else "load"


def _call(
    operation: Operation, path: str, body: bytes, content_type: str, model: str, *, stream: bool, idle: str | None
) -> Call:
    return Call(
        operation=operation,
        face=Face.OLLAMA,
        path=path,
        body=body,
        content_type=content_type,
        model=model,
        stream=stream,
        idle=idle,
    )


_ROUTES: dict[str, Callable[[str, bytes, str], Call]] = {
    "/api/chat": _chat_call,
    "/api/generate": _generate_call,
    "/api/embed": _embed_call,
    "/api/embeddings": _embeddings_call,
}
