"""OpenAI clients in front of Ollama: `/v1/chat/completions`, `/v1/completions`, `/v1/embeddings` on Ollama's own API.

Ollama has an OpenAI-compatible face too, but its own API takes every option and says its timings. What a client leaves
out stays out: the model's Modelfile decides, as a model's generation_config does under vLLM. Two defaults are OpenAI's
contract and are said: a prompt that does not fit is an error, and `/v1/completions` stops after 16 tokens.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import TypeVar

import msgspec
from msgspec import UNSET

from penstock.errors import BadRequest
from penstock.protocols import json_body, splice
from penstock.protocols.dialect import Call, Clock, Destination, Outgoing, Reader, Timing
from penstock.protocols.ollama_messages import History
from penstock.protocols.ollama_out_answer import CHAT, TEXT, Shape, Stream, Whole
from penstock.protocols.ollama_out_types import (
    KNOWN,
    Asked,
    ChatAsked,
    ChatBody,
    CompletionAsked,
    EmbeddingAsked,
    ResponseFormat,
)
from penstock.protocols.ollama_out_vectors import Vectors
from penstock.protocols.ollama_types import EmbedRequest, GenerateRequest, Options, Think, said

A = TypeVar("A", ChatAsked, CompletionAsked, EmbeddingAsked)
_encode = msgspec.json.Encoder().encode
_chat = msgspec.json.Decoder(ChatAsked)
_completion = msgspec.json.Decoder(CompletionAsked)
_embedding = msgspec.json.Decoder(EmbeddingAsked)
_text: msgspec.json.Decoder[str | list[str]] = msgspec.json.Decoder(str | list[str])
_flag = msgspec.json.Decoder(bool)
_KEYS = (b'"model"', b'"messages"', b'"prompt"', b'"input"')
_EFFORTS: dict[str | None, Think] = {
    "none": False, "minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "max", "max": "max",
}  # fmt: skip
_COMPLETION_TOKENS = 16
"""What OpenAI's contract gives a completion that names no limit, or null; vLLM does the same."""

NewId = Callable[[], str]


def _new_id() -> str:
    return secrets.token_hex(12)


class Chat:
    """`/v1/chat/completions` as `/api/chat`."""

    def __init__(self, wall: Clock = time.time_ns, new_id: NewId = _new_id) -> None:
        self._wall = wall
        self._new_id = new_id

    def request(self, call: Call, to: Destination) -> Outgoing:
        """The same conversation for Ollama."""
        asked = json_body.decode(_chat, call.body, _KEYS)
        dropped = _unknown(asked, call.body)
        _check_one(asked.n, "n")
        history = History()
        messages = [msgspec.Raw(_encode(history.message(turn))) for turn in asked.messages]
        limit = asked.max_completion_tokens if asked.max_completion_tokens is not None else asked.max_tokens
        body = ChatBody(
            model=to.model,
            messages=messages,
            stream=call.stream,
            tools=_tools(asked, dropped),
            format=_format(asked.response_format, dropped),
            options=_options(asked, limit),
            think=_think(asked, dropped),
            truncate=False,
            shift=False,
        )
        if asked.logprobs:
            body.logprobs = True
            body.top_logprobs = asked.top_logprobs
        return _outgoing("/api/chat", body, [*dropped, *sorted(history.lost)])

    def reader(self, call: Call, to: Destination, timing: Timing, clock: Clock) -> Reader:
        """Ollama's answer as OpenAI chunks, or as one object."""
        return _reader(CHAT, call, to, timing, clock, self._wall, self._new_id)


class Completion:
    """`/v1/completions` as `/api/generate` without the template."""

    def __init__(self, wall: Clock = time.time_ns, new_id: NewId = _new_id) -> None:
        self._wall = wall
        self._new_id = new_id

    def request(self, call: Call, to: Destination) -> Outgoing:
        """The same prompt for Ollama; a suffix needs the model's own fill-in-the-middle template."""
        asked = json_body.decode(_completion, call.body, _KEYS)
        dropped = _unknown(asked, call.body)
        _check_one(asked.n, "n")
        _check_one(asked.best_of, "best_of")
        if asked.echo:
            dropped.append("echo")
        form = _format(asked.response_format, dropped)
        limit = _COMPLETION_TOKENS if asked.max_tokens is None else asked.max_tokens
        body = GenerateRequest(
            model=to.model,
            prompt=_prompt(asked.prompt),
            stream=call.stream,
            raw=None if asked.suffix else True,
            suffix=asked.suffix or None,
            options=msgspec.Raw(_encode(_options(asked, limit))),
            truncate=False,
            shift=False,
        )
        if form is not UNSET:
            body.format = form
        if asked.logprobs is not None:
            body.logprobs = True
            body.top_logprobs = asked.logprobs
        return _outgoing("/api/generate", body, dropped)

    def reader(self, call: Call, to: Destination, timing: Timing, clock: Clock) -> Reader:
        """Ollama's answer as OpenAI chunks, or as one object."""
        return _reader(TEXT, call, to, timing, clock, self._wall, self._new_id)


class Embedding:
    """`/v1/embeddings` as `/api/embed`."""

    def request(self, call: Call, to: Destination) -> Outgoing:
        """The same texts; one that does not fit is an error, as with every other engine."""
        asked = json_body.decode(_embedding, call.body, _KEYS)
        dropped = _unknown(asked, call.body)
        if asked.encoding_format not in {None, "float", "base64"}:
            msg = f"Reading the request body: encoding_format is {asked.encoding_format!r}."
            raise BadRequest(msg, hint='Use "float" or "base64".', param="encoding_format")
        body = EmbedRequest(
            model=to.model,
            input=msgspec.Raw(_encode(_texts(asked.input))),
            truncate=False,
            dimensions=asked.dimensions,
        )
        return _outgoing("/api/embed", body, dropped)

    def reader(self, call: Call, to: Destination, timing: Timing, clock: Clock) -> Reader:
        """Every vector, as numbers or as base64."""
        asked = json_body.decode(_embedding, call.body, _KEYS)
        return Vectors(to.model, len(_texts(asked.input)), timing, clock, packed=asked.encoding_format == "base64")


def _reader(
    shape: Shape, call: Call, to: Destination, timing: Timing, clock: Clock, wall: Clock, new_id: NewId
) -> Reader:
    if call.stream:
        return Stream(shape, to.model, timing, clock, wall, new_id, usage_asked=call.usage_asked)
    return Whole(shape, to.model, timing, clock, wall, new_id)


def _unknown(asked: A, body: bytes) -> list[str]:
    """Members of the body that we have no words for."""
    known = KNOWN[type(asked)]
    found = splice.spans(body)
    return [name for name, at in found.items() if name not in known and body[at.value : at.end].strip() != b"null"]


def _check_one(value: int | None, name: str) -> None:
    if value is not None and value != 1:
        msg = f"Writing the request for Ollama: it gives one answer, and {name} is {value}."
        raise BadRequest(msg, hint=f"Leave {name} out and ask again for each answer.", param=name)


def _tools(asked: ChatAsked, dropped: list[str]) -> list[msgspec.Raw] | None:
    """Ollama's models choose for themselves; `none` is said by showing no tools."""
    choice = bytes(asked.tool_choice)
    if choice == b'"none"':
        return None
    if said(asked.tool_choice) and choice != b'"auto"' and asked.tools:
        dropped.append("tool_choice")
    if asked.parallel_tool_calls is False and asked.tools:
        dropped.append("parallel_tool_calls")
    return asked.tools or None


def _format(form: ResponseFormat | None, dropped: list[str]) -> msgspec.Raw | msgspec.UnsetType:
    if form is None or form.type == "text":
        return UNSET
    if form.type == "json_object":
        return msgspec.Raw(b'"json"')
    if form.type == "json_schema" and form.json_schema is not None and said(form.json_schema.schema):
        return form.json_schema.schema
    dropped.append("response_format")
    return UNSET


def _think(asked: ChatAsked, dropped: list[str]) -> Think:
    words = asked.chat_template_kwargs or {}
    dropped += [f"chat_template_kwargs.{name}" for name in words if name != "enable_thinking"]
    effort = asked.reasoning_effort
    if effort in _EFFORTS:
        return _EFFORTS[effort]
    if effort is not None:
        dropped.append("reasoning_effort")
    switch = words.get("enable_thinking")
    if switch is None:
        return None
    try:
        return _flag.decode(switch)
    except msgspec.ValidationError:
        dropped.append("chat_template_kwargs.enable_thinking")
        return None


def _options(asked: Asked, limit: int | None) -> Options:
    if limit is not None and limit < 1:
        msg = f"Writing the request for Ollama: max_tokens is {limit}."
        raise BadRequest(msg, hint="Ask for at least one token.", param="max_tokens")
    penalty = asked.repetition_penalty if asked.repetition_penalty is not None else asked.repeat_penalty
    stop = [asked.stop] if isinstance(asked.stop, str) else asked.stop
    return Options(
        num_predict=limit,
        stop=stop or None,
        seed=asked.seed,
        temperature=asked.temperature,
        top_p=asked.top_p,
        # vLLM's -1 is "no limit"; Ollama's is 0.
        top_k=None if asked.top_k is None else max(asked.top_k, 0),
        min_p=asked.min_p,
        typical_p=asked.typical_p,
        presence_penalty=asked.presence_penalty,
        frequency_penalty=asked.frequency_penalty,
        repeat_penalty=penalty,
        repeat_last_n=asked.repeat_last_n,
    )


def _prompt(raw: msgspec.Raw) -> str:
    found = _strings(raw, "prompt")
    if isinstance(found, str):
        return found
    if len(found) != 1:
        msg = f"Writing the request for Ollama: it takes one prompt at a time, and {len(found)} were sent."
        raise BadRequest(msg, hint="Send one request for each.", param="prompt")
    return found[0]


def _texts(raw: msgspec.Raw) -> list[str]:
    found = _strings(raw, "input")
    return [found] if isinstance(found, str) else found


def _strings(raw: msgspec.Raw, name: str) -> str | list[str]:
    try:
        return _text.decode(raw)
    except msgspec.ValidationError:
        msg = (
            f"Writing the request for Ollama: {name} is neither a string nor a list of strings; it takes no token ids."
        )
        raise BadRequest(msg, param=name) from None


def _outgoing(path: str, body: ChatBody | GenerateRequest | EmbedRequest, dropped: list[str]) -> Outgoing:
    return Outgoing(path=path, body=_encode(body), dropped=tuple(dict.fromkeys(dropped)))
