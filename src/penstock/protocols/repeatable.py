"""Whether a request may be asked of a second engine as well, and what it asks for. Bytes in, one frozen value out.

A request is repeatable when asking it leaves nothing behind: no stored answer, no work that goes on, no tool that the server
itself runs, no model that is unloaded, no address that the engine fetches (it may answer once only, and then the caller's
own request would fail), and nothing that means something to one engine alone. Everything else is named by one of the words below, which a metric counts. Tools that the caller runs are only ever asked for, so those are repeatable.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from penstock.errors import BadRequest
from penstock.protocols import ollama_words
from penstock.protocols.dialect import Call
from penstock.protocols.heard import PATHS
from penstock.protocols.ollama_types import NOTHING, said

Effect: TypeAlias = Literal[
    "", "route", "unreadable", "stored", "background", "server_tools", "engine_state", "remote_url", "token_ids"
]

UNLOADS = 10**9
"""Nanoseconds of `keep_alive` below which Ollama unloads a model."""
_CALLERS_OWN = frozenset({"function", "custom"})


class Wish(msgspec.Struct, frozen=True):
    """What a request asks for."""

    effect: Effect = ""
    """What asking it twice would do besides answering; empty where nothing."""
    json: bool = False
    tools: bool = False
    greedy: bool = False
    """Sampling is off: temperature 0, or one candidate only."""
    prompt: str = ""
    """The last thing the user said."""


def wish_of(call: Call) -> Wish:
    """What this call asks for."""
    if call.path not in PATHS:
        return Wish(effect="route")
    if call.idle:
        return Wish(effect="engine_state")
    try:
        return _ollama(call.body) if call.path.startswith("/api/") else _openai(call.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, BadRequest):
        # The engine will say what is wrong with it; there is nothing to compare.
        return Wish(effect="unreadable")


class _Tool(msgspec.Struct):
    type: str | None = None


class _Message(msgspec.Struct):
    role: str | None = None
    content: msgspec.Raw = NOTHING


class _Format(msgspec.Struct):
    type: str | None = None


class _OpenAI(msgspec.Struct):
    """Anthropic's body as well: what decides stands under the same names."""

    messages: list[_Message] | None = None
    prompt: msgspec.Raw = NOTHING
    input: msgspec.Raw = NOTHING
    temperature: float | None = None
    top_k: float | None = None
    store: bool | None = None
    background: bool | None = None
    previous_response_id: str | None = None
    tools: list[_Tool] | None = None
    tool_choice: msgspec.Raw = NOTHING
    functions: msgspec.Raw = NOTHING
    web_search_options: msgspec.Raw = NOTHING
    mcp_servers: msgspec.Raw = NOTHING
    container: msgspec.Raw = NOTHING
    kv_transfer_params: msgspec.Raw = NOTHING
    response_format: _Format | None = None
    structured_outputs: msgspec.Raw = NOTHING
    guided_json: msgspec.Raw = NOTHING


_openai_body = msgspec.json.Decoder(_OpenAI)


def _openai(body: bytes) -> Wish:
    asked = _openai_body.decode(body)
    return Wish(
        effect=_effect(asked),
        json=(asked.response_format is not None and asked.response_format.type in {"json_object", "json_schema"})
        or said(asked.guided_json)
        or (said(asked.structured_outputs) and b'"json' in bytes(asked.structured_outputs)),
        tools=(bool(asked.tools) or said(asked.functions)) and bytes(asked.tool_choice) != b'"none"',
        greedy=asked.temperature == 0 or asked.top_k == 1,
        prompt=_last(asked.messages) if asked.messages else _texts(asked.prompt) or _texts(asked.input),
    )


def _effect(asked: _OpenAI) -> Effect:
    kinds = {tool.type or "function" for tool in asked.tools or ()}
    served = any(map(said, (asked.web_search_options, asked.mcp_servers, asked.container))) or bool(
        kinds - _CALLERS_OWN
    )
    signs: tuple[tuple[object, Effect], ...] = (
        (asked.store or asked.previous_response_id, "stored"),
        (asked.background, "background"),
        (served, "server_tools"),
        (said(asked.kv_transfer_params), "engine_state"),
        (any(_fetches(message.content) for message in asked.messages or ()), "remote_url"),
        (_ids(asked.prompt) or _ids(asked.input), "token_ids"),
    )
    return next((effect for sign, effect in signs if sign), "")


class _Options(msgspec.Struct):
    temperature: float | None = None
    top_k: float | None = None


class _Ollama(msgspec.Struct):
    messages: list[_Message] | None = None
    prompt: str | None = None
    input: msgspec.Raw = NOTHING
    context: list[int] | None = None
    keep_alive: msgspec.Raw = NOTHING
    tools: list[msgspec.Raw] | None = None
    format: msgspec.Raw = NOTHING
    options: _Options | None = None


_ollama_body = msgspec.json.Decoder(_Ollama)


def _ollama(body: bytes) -> Wish:
    asked = _ollama_body.decode(body)
    alive = ollama_words.keep_alive(asked.keep_alive)
    effect: Effect = "engine_state" if alive is not None and alive < UNLOADS else ""
    options = asked.options or _Options()
    return Wish(
        effect=effect or ("token_ids" if asked.context else ""),
        json=said(asked.format) and bytes(asked.format) != b'""',
        tools=bool(asked.tools),
        greedy=options.temperature == 0 or options.top_k == 1,
        prompt=_last(asked.messages) if asked.messages else asked.prompt or _texts(asked.input),
    )


class _Text(msgspec.Struct):
    text: str | None = None


class _Address(msgspec.Struct):
    url: str | None = None


_words: msgspec.json.Decoder[str | list[str | _Text]] = msgspec.json.Decoder(str | list[str | _Text])


def _last(messages: list[_Message]) -> str:
    """What the user said last."""
    return next((_texts(one.content) for one in reversed(messages) if one.role == "user"), "")


def _texts(raw: msgspec.Raw) -> str:
    """A text, or several below each other; the parts that are pictures or sounds have none."""
    if not said(raw) or _ids(raw):
        return ""
    found = _words.decode(raw)
    if isinstance(found, str):
        return found
    return "\n".join((one if isinstance(one, str) else one.text) or "" for one in found)


_parts: msgspec.json.Decoder[list[str | dict[str, msgspec.Raw]]] = msgspec.json.Decoder(
    list[str | dict[str, msgspec.Raw]]
)
_address: msgspec.json.Decoder[str | _Address | None] = msgspec.json.Decoder(str | _Address | None)


def _fetches(content: msgspec.Raw) -> bool:
    """Whether a part of a message (`image_url`, `video_url` …, Anthropic's `source`) is to be fetched; `data:` is there."""
    if not bytes(content).startswith(b"["):
        return False
    parts = [part for part in _parts.decode(content) if isinstance(part, dict)]
    return any(
        _remote(value) for part in parts for name, value in part.items() if name.endswith("_url") or name == "source"
    )


def _remote(raw: msgspec.Raw) -> bool:
    found = _address.decode(raw)
    url = found.url if isinstance(found, _Address) else found
    return bool(url) and not str(url).lower().startswith("data:")


def _ids(raw: msgspec.Raw) -> bool:
    """Whether a prompt is given as numbers, which mean something to one tokenizer alone."""
    return bytes(raw).lstrip(b"[ \t\r\n")[:1].isdigit()
