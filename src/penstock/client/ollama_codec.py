"""Ollama's own protocol, so that its options survive: `/api/generate` for a prompt, `/api/chat` for messages. No I/O here."""

from __future__ import annotations

from typing import Any

import msgspec

from penstock.client.answer import Answer, Piece, Source
from penstock.client.ask import Ask, Message, ToolCall
from penstock.client.codec import Outgoing, Served, encoded
from penstock.client.options import said
from penstock.errors import BadRequest, BrokenAnswer, EngineRefused
from penstock.protocols.ndjson import Splitter
from penstock.types import Kind, Usage


class _Function(msgspec.Struct):
    name: str
    arguments: dict[str, Any] | None = None


class _Call(msgspec.Struct):
    function: _Function
    id: str | None = None


class _Message(msgspec.Struct):
    content: str | None = None
    thinking: str | None = None
    tool_calls: list[_Call] | None = None


class _Line(msgspec.Struct):
    message: _Message | None = None
    response: str | None = None
    thinking: str | None = None
    done: bool = False
    done_reason: str | None = None
    prompt_eval_count: int = 0
    eval_count: int | None = None
    error: str | None = None


class _Model(msgspec.Struct):
    name: str


class _Models(msgspec.Struct):
    models: list[_Model]


_LINE = msgspec.json.Decoder(_Line)
_MODELS = msgspec.json.Decoder(_Models)
_ENCODER = msgspec.json.Encoder()


class OllamaCodec:
    """A prompt goes to `/api/generate`, where Ollama applies the model's template unless `raw` is set."""

    models_path = "/api/tags"
    content_type = "application/x-ndjson"

    def request(self, ask: Ask, kind: Kind, model: str, *, stream: bool) -> Outgoing:
        words, dropped = said(ask.options, kind)
        body: dict[str, Any] = {"model": model, "stream": stream, "options": words}
        if ask.prompt is not None:
            path = "/api/generate"
            body["prompt"] = ask.prompt
            if ask.raw:
                body["raw"] = True
            if ask.system:
                body["system"] = ask.system
            if ask.suffix:
                body["suffix"] = ask.suffix
        else:
            path = "/api/chat"
            turns = [_message(turn) for turn in ask.messages]
            body["messages"] = [{"role": "system", "content": ask.system}, *turns] if ask.system else turns
            if ask.tools:
                body["tools"] = ask.tools
        _add(ask, body)
        if ask.tool_choice is not None and ask.tool_choice != "auto":
            dropped += ("tool_choice",)
        return Outgoing(path, encoded(body), dropped)

    def whole(self, body: bytes, source: Source) -> Answer:
        line = _decode(body)
        if not line.done:
            raise BrokenAnswer("Ollama's answer does not say that it is complete.")
        text, thinking, calls = _content(line)
        return Answer(
            text=text,
            source=source,
            thinking=thinking,
            tool_calls=calls,
            finish=line.done_reason or "stop",
            usage=_usage(line),
            body=body,
        )

    def reader(self, source: Source) -> OllamaReader:
        return OllamaReader(source)

    def error(self, body: bytes) -> str:
        return _sentence(body)

    def models(self, body: bytes) -> list[Served]:
        try:
            return [Served(one.name) for one in _MODELS.decode(body).models]
        except msgspec.DecodeError as wrong:
            raise BrokenAnswer(f"Ollama's list of models cannot be read: {wrong}") from None


class OllamaReader:
    """One stream of lines."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._split = Splitter()
        self._done = False

    def feed(self, data: bytes) -> list[Piece]:
        return [piece for line in self._split.feed(data) if (piece := self._piece(line))]

    def end(self) -> None:
        if not self._done:
            raise BrokenAnswer("Ollama's stream ended before its answer was complete.")

    def _piece(self, body: bytes) -> Piece | None:
        if self._done:
            return None
        line = _decode(body)
        text, thinking, calls = _content(line)
        if not (text or thinking or calls or line.done):
            return None
        if not line.done:
            return Piece(source=self._source, text=text, thinking=thinking, tool_calls=calls, body=body)
        self._done = True
        return Piece(
            source=self._source,
            text=text,
            thinking=thinking,
            tool_calls=calls,
            finish=line.done_reason or "stop",
            usage=_usage(line),
            body=body,
        )


def _add(ask: Ask, body: dict[str, Any]) -> None:
    """The rarer members."""
    if ask.format is not None:
        body["format"] = ask.format
    if ask.thinking is not None:
        body["think"] = ask.thinking
    if ask.keep_alive is not None:
        body["keep_alive"] = ask.keep_alive
    if ask.logprobs is not None:
        body["logprobs"] = True
        body["top_logprobs"] = ask.logprobs
    body.update(ask.extra)


def _decode(body: bytes) -> _Line:
    try:
        line = _LINE.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as wrong:
        raise BrokenAnswer(f"Ollama's answer cannot be read: {wrong}") from None
    if line.error:
        raise EngineRefused(f"Ollama broke off with an error: {line.error}")
    if line.message is None and line.response is None:
        raise BrokenAnswer("Ollama's answer holds neither a message nor a response.")
    return line


def _content(line: _Line) -> tuple[str, str, tuple[ToolCall, ...]]:
    if line.message is None:
        return line.response or "", line.thinking or "", ()
    said_ = line.message
    calls = tuple(
        ToolCall(one.function.name, _ENCODER.encode(one.function.arguments or {}).decode(), one.id or "")
        for one in said_.tool_calls or ()
    )
    return said_.content or "", said_.thinking or "", calls


def _usage(line: _Line) -> Usage | None:
    return None if line.eval_count is None else Usage(line.prompt_eval_count, line.eval_count)


def _sentence(body: bytes) -> str:
    try:
        told = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        told = None
    found = told.get("error") if isinstance(told, dict) else None
    if isinstance(found, dict):
        found = found.get("message")
    return found if isinstance(found, str) else body[:500].decode(errors="replace").strip()


def _message(turn: Message) -> dict[str, Any]:
    body: dict[str, Any] = {"role": turn.role, "content": turn.content}
    if turn.images:
        body["images"] = [_base64(one) for one in turn.images]
    if turn.tool_calls:
        body["tool_calls"] = [_call(one) for one in turn.tool_calls]
    if turn.role == "tool":
        if turn.name:
            body["tool_name"] = turn.name
        if turn.tool_call_id:
            body["tool_call_id"] = turn.tool_call_id
    if turn.thinking:
        body["thinking"] = turn.thinking
    return body


def _call(call: ToolCall) -> dict[str, Any]:
    try:
        arguments = msgspec.json.decode(call.arguments)
    except msgspec.DecodeError:
        raise BadRequest(f"The arguments of the tool call {call.name!r} are no JSON: {call.arguments[:200]}") from None
    function: dict[str, Any] = {"function": {"name": call.name, "arguments": arguments}}
    return {"id": call.id, **function} if call.id else function


def _base64(image: str) -> str:
    if image.startswith(("http://", "https://")):
        raise BadRequest(
            f"Ollama takes images as base64 only, not {image[:80]!r}.", hint="Load the image and give its content."
        )
    return image.partition(";base64,")[2] if image.startswith("data:") else image
