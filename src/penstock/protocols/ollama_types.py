"""Ollama's wire as types: what its clients send to the model routes and what they read back.

Names and order of fields are Ollama's (api/types.go). Parts that pass through unread (schemas, tools, arguments of a
tool call) stay `msgspec.Raw`, so that their key order and number formats survive. An absent `Raw` is `NOTHING`; `said`
tells whether there is one. No translation and no error words here.
"""

from __future__ import annotations

import time
from functools import lru_cache
from typing import TypeAlias

import msgspec

NOTHING = msgspec.Raw(b"")
Number: TypeAlias = int | float
Think: TypeAlias = bool | str | None


def said(raw: msgspec.Raw) -> bool:
    """Whether the client gave this part at all; `null` is Go's way of leaving it out."""
    return bytes(raw) not in {b"", b"null"}


# ---- requests


class Function(msgspec.Struct, omit_defaults=True):
    """What a tool call calls; the arguments are an object, in the order in which the model wrote them."""

    name: str = ""
    arguments: msgspec.Raw = NOTHING
    index: int | None = None


class ToolCall(msgspec.Struct, omit_defaults=True):
    function: Function
    id: str | None = None


class Message(msgspec.Struct, omit_defaults=True):
    """One turn of a chat, as a client sends it."""

    role: str = ""
    content: str | None = None
    thinking: str | None = None
    images: list[str] | None = None
    tool_calls: list[ToolCall] | None = None
    tool_name: str | None = None
    tool_call_id: str | None = None


class ChatRequest(msgspec.Struct, omit_defaults=True):
    """`POST /api/chat`."""

    model: str = ""
    messages: list[Message] | None = None
    stream: bool | None = None
    format: msgspec.Raw = NOTHING
    keep_alive: msgspec.Raw = NOTHING
    tools: list[msgspec.Raw] | None = None
    options: msgspec.Raw = NOTHING
    think: Think = None
    truncate: bool | None = None
    shift: bool | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None


class GenerateRequest(msgspec.Struct, omit_defaults=True):
    """`POST /api/generate`."""

    model: str = ""
    prompt: str | None = None
    suffix: str | None = None
    system: str | None = None
    template: str | None = None
    context: list[int] | None = None
    stream: bool | None = None
    raw: bool | None = None
    format: msgspec.Raw = NOTHING
    keep_alive: msgspec.Raw = NOTHING
    images: list[str] | None = None
    options: msgspec.Raw = NOTHING
    think: Think = None
    truncate: bool | None = None
    shift: bool | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    width: int | None = None
    height: int | None = None
    steps: int | None = None


class EmbedRequest(msgspec.Struct, omit_defaults=True):
    """`POST /api/embed`."""

    model: str = ""
    input: msgspec.Raw = NOTHING
    keep_alive: msgspec.Raw = NOTHING
    truncate: bool | None = None
    dimensions: int | None = None
    options: msgspec.Raw = NOTHING


class EmbeddingsRequest(msgspec.Struct, omit_defaults=True):
    """`POST /api/embeddings`, the older form."""

    model: str = ""
    prompt: str | None = None
    keep_alive: msgspec.Raw = NOTHING
    options: msgspec.Raw = NOTHING


class Options(msgspec.Struct, omit_defaults=True):
    """The options that decide what is generated; Go takes `40.0` for an integer, so a `Number` is wide enough."""

    num_keep: Number | None = None
    seed: Number | None = None
    num_predict: Number | None = None
    top_k: Number | None = None
    top_p: Number | None = None
    min_p: Number | None = None
    typical_p: Number | None = None
    repeat_last_n: Number | None = None
    temperature: Number | None = None
    repeat_penalty: Number | None = None
    presence_penalty: Number | None = None
    frequency_penalty: Number | None = None
    mirostat: Number | None = None
    mirostat_tau: Number | None = None
    mirostat_eta: Number | None = None
    stop: list[str] | None = None
    num_ctx: Number | None = None


# ---- answers


class TopLogprob(msgspec.Struct, omit_defaults=True):
    """One token that could have stood there."""

    token: str
    logprob: float
    bytes: list[int] | None = None


class Logprob(msgspec.Struct, omit_defaults=True):
    """One token of the answer and how likely it was."""

    token: str
    logprob: float
    bytes: list[int] | None = None
    top_logprobs: list[TopLogprob] | None = None


class Said(msgspec.Struct, omit_defaults=True):
    """A turn of the model, as Ollama writes it: `role` and `content` always stand there."""

    role: str | msgspec.UnsetType = msgspec.UNSET
    content: str | msgspec.UnsetType = msgspec.UNSET
    thinking: str | None = None
    tool_calls: list[ToolCall] | None = None


class Metrics(msgspec.Struct, frozen=True):
    """Counts, and durations in nanoseconds; what is not known is left out."""

    total_duration: int | None = None
    load_duration: int | None = None
    prompt_eval_count: int | None = None
    prompt_eval_duration: int | None = None
    eval_count: int | None = None
    eval_duration: int | None = None


class ChatAnswer(msgspec.Struct, omit_defaults=True):
    """An answer to `/api/chat`, or one line of it."""

    model: str | msgspec.UnsetType = msgspec.UNSET
    created_at: str | msgspec.UnsetType = msgspec.UNSET
    message: Said | None = None
    done: bool | msgspec.UnsetType = msgspec.UNSET
    done_reason: str | None = None
    total_duration: int | None = None
    load_duration: int | None = None
    prompt_eval_count: int | None = None
    prompt_eval_duration: int | None = None
    eval_count: int | None = None
    eval_duration: int | None = None
    logprobs: list[Logprob] | None = None
    error: msgspec.Raw = NOTHING


class GenerateAnswer(msgspec.Struct, omit_defaults=True):
    """An answer to `/api/generate`, or one line of it."""

    model: str | msgspec.UnsetType = msgspec.UNSET
    created_at: str | msgspec.UnsetType = msgspec.UNSET
    response: str | msgspec.UnsetType = msgspec.UNSET
    thinking: str | None = None
    done: bool | msgspec.UnsetType = msgspec.UNSET
    done_reason: str | None = None
    total_duration: int | None = None
    load_duration: int | None = None
    prompt_eval_count: int | None = None
    prompt_eval_duration: int | None = None
    eval_count: int | None = None
    eval_duration: int | None = None
    logprobs: list[Logprob] | None = None
    error: msgspec.Raw = NOTHING


class EmbedAnswer(msgspec.Struct, omit_defaults=True):
    """An answer to `/api/embed`; a vector's numbers stay as the engine wrote them."""

    model: str | msgspec.UnsetType = msgspec.UNSET
    embeddings: list[msgspec.Raw] | msgspec.UnsetType = msgspec.UNSET
    total_duration: int | None = None
    load_duration: int | None = None
    prompt_eval_count: int | None = None
    error: msgspec.Raw = NOTHING


class EmbeddingsAnswer(msgspec.Struct):
    """An answer to `/api/embeddings`."""

    embedding: msgspec.Raw


def moment(ns: int) -> str:
    """A wall-clock time as Go prints it: RFC 3339 in UTC, nanoseconds without trailing zeros."""
    seconds, fraction = divmod(ns, 1_000_000_000)
    return f"{_second(seconds)}.{fraction:09d}".rstrip("0").rstrip(".") + "Z"


@lru_cache(maxsize=8)
def _second(seconds: int) -> str:
    """Every line of a stream bears a time, and hundreds of them the same second."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
