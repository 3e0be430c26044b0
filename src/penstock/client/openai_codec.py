"""OpenAI's protocol, as vLLM, llama.cpp and the gateway speak it. No I/O here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from penstock.client.answer import Answer, Piece, Source
from penstock.client.ask import Ask, Message, ToolCall
from penstock.client.codec import Outgoing, Served, encoded
from penstock.client.options import said
from penstock.errors import BrokenAnswer, EngineRefused
from penstock.protocols import strange
from penstock.protocols.sse import Splitter, payload
from penstock.types import Kind, Usage

DEFAULT_TOKENS = 512
"""Asked for on `/v1/completions`, where silence means 16 tokens (S1.19's value)."""
_DONE = b"[DONE]"


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _Call(msgspec.Struct):
    index: int = 0
    id: str | None = None
    function: _Function | None = None


class _Said(msgspec.Struct):
    content: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[_Call] | None = None


class _Choice(msgspec.Struct):
    message: _Said | None = None
    delta: _Said | None = None
    text: str | None = None
    finish_reason: str | None = None
    index: int = 0


class _Body(msgspec.Struct):
    choices: list[_Choice] | None = None
    usage: Usage | None = None
    error: msgspec.Raw = msgspec.Raw()


class _Model(msgspec.Struct):
    id: str
    max_model_len: int | None = None


class _Models(msgspec.Struct):
    data: list[_Model]


_BODY = msgspec.json.Decoder(_Body)
_MODELS = msgspec.json.Decoder(_Models)


class OpenAICodec:
    """Chat by default, so that the model's template is applied; `raw` goes to `/v1/completions` (X6)."""

    models_path = "/v1/models"
    content_type = "text/event-stream"

    def request(self, ask: Ask, kind: Kind, model: str, *, stream: bool) -> Outgoing:
        words, dropped = said(ask.options, kind)
        body: dict[str, Any] = {"model": model, **words}
        if ask.raw:
            path = "/v1/completions"
            body["prompt"] = ask.prompt or ""
            body.setdefault("max_tokens", DEFAULT_TOKENS)
            if ask.suffix:
                body["suffix"] = ask.suffix
        else:
            path = "/v1/chat/completions"
            body["messages"] = turns(ask)
        if stream:
            body["stream"] = True
            body["stream_options"] = {"include_usage": True}
        if _special(ask):
            dropped += _add(ask, kind, body)
        return Outgoing(path, encoded(body), dropped)

    def whole(self, body: bytes, source: Source) -> Answer:
        decoded = _decode(body)
        if not decoded.choices:
            raise BrokenAnswer("The engine's answer holds no choice.", hint="Is there a proxy in between?")
        choice = decoded.choices[0]
        strange.check_finish(choice.finish_reason)
        if choice.message is None:
            if choice.text is None:
                raise BrokenAnswer("The engine's answer holds neither a message nor text.")
            return Answer(
                text=choice.text, source=source, finish=choice.finish_reason or "", usage=decoded.usage, body=body
            )
        said_ = choice.message
        return Answer(
            text=said_.content or "",
            source=source,
            thinking=said_.reasoning or said_.reasoning_content or "",
            tool_calls=_calls(said_.tool_calls) if said_.tool_calls else (),
            finish=choice.finish_reason or "",
            usage=decoded.usage,
            body=body,
        )

    def reader(self, source: Source) -> OpenAIReader:
        return OpenAIReader(source)

    def error(self, body: bytes) -> str:
        return _sentence(body)

    def models(self, body: bytes) -> list[Served]:
        try:
            return [Served(one.id, one.max_model_len) for one in _MODELS.decode(body).data]
        except msgspec.DecodeError as wrong:
            raise BrokenAnswer(f"The engine's list of models cannot be read: {wrong}") from None


class OpenAIReader:
    """One event stream."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._split = Splitter()
        self._calls: dict[int, _Call] = {}
        self._finished = False
        self._closed = False

    def feed(self, data: bytes) -> list[Piece]:
        pieces = []
        for event in self._split.feed(data):
            body = None if self._closed else payload(event)
            if body is None:
                continue
            if body == _DONE:
                self._closed = True
            elif piece := self._piece(body):
                pieces.append(piece)
        return pieces

    def end(self) -> None:
        if not self._finished:
            raise BrokenAnswer("The engine's stream ended before its answer was complete.")

    def _piece(self, body: bytes) -> Piece | None:
        decoded = _decode(body)
        choice = next((one for one in decoded.choices or () if one.index == 0), None)
        if choice is None:
            if not decoded.usage and not decoded.choices:
                strange.check_chunk(body)
            return Piece(source=self._source, usage=decoded.usage, body=body) if decoded.usage else None
        delta = choice.delta or _Said(content=choice.text)
        for call in delta.tool_calls or ():
            self._gather(call)
        finish = choice.finish_reason or ""
        calls: tuple[ToolCall, ...] = ()
        if finish:
            strange.check_finish(finish)
            self._finished = True
            calls = _calls([self._calls[index] for index in sorted(self._calls)])
        text, thinking = delta.content or "", delta.reasoning or delta.reasoning_content or ""
        if not (text or thinking or finish or decoded.usage):
            return None
        return Piece(
            source=self._source,
            text=text,
            thinking=thinking,
            tool_calls=calls,
            finish=finish,
            usage=decoded.usage,
            body=body,
        )

    def _gather(self, part: _Call) -> None:
        whole = self._calls.setdefault(part.index, _Call(part.index, part.id, _Function("", "")))
        whole.id = whole.id or part.id
        if part.function and whole.function:
            whole.function.name = (whole.function.name or "") + (part.function.name or "")
            whole.function.arguments = (whole.function.arguments or "") + (part.function.arguments or "")


def _decode(body: bytes) -> _Body:
    try:
        decoded = _BODY.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as wrong:
        raise BrokenAnswer(f"The engine's answer cannot be read: {wrong}") from None
    if bytes(decoded.error) not in {b"", b"null"}:
        raise EngineRefused(f"The engine broke off with an error: {_sentence(body)}")
    if decoded.choices is None:
        raise BrokenAnswer("The engine's answer holds no choices.")
    return decoded


def _sentence(body: bytes) -> str:
    """VLLM and OpenAI wrap it in `error.message`, older servers in `message` or `detail`."""
    try:
        told = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return body[:500].decode(errors="replace").strip()
    if isinstance(told, dict):
        error = told.get("error")
        for found in (
            error.get("message") if isinstance(error, dict) else error,
            told.get("message"),
            told.get("detail"),
        ):
            if isinstance(found, str) and found:
                return found
    return body[:500].decode(errors="replace").strip()


def turns(ask: Ask) -> list[dict[str, Any]]:
    """The conversation in OpenAI's form."""
    said_: list[dict[str, Any]]
    if ask.prompt is not None:
        said_ = [{"role": "user", "content": ask.prompt}]
    else:
        said_ = [_message(turn) for turn in ask.messages]
    return [{"role": "system", "content": ask.system}, *said_] if ask.system else said_


def _message(turn: Message) -> dict[str, Any]:
    body: dict[str, Any] = {"role": turn.role, "content": turn.content}
    if turn.images:
        text = [{"type": "text", "text": turn.content}] if turn.content else []
        images = [{"type": "image_url", "image_url": {"url": _image_url(one)}} for one in turn.images]
        body["content"] = [*text, *images]
    if turn.tool_calls:
        body["tool_calls"] = [
            {"id": one.id, "type": "function", "function": {"name": one.name, "arguments": one.arguments}}
            for one in turn.tool_calls
        ]
    if turn.tool_call_id:
        body["tool_call_id"] = turn.tool_call_id
    if turn.name:
        body["name"] = turn.name
    return body


_SIGNATURES = (("/9j/", "jpeg"), ("iVBOR", "png"), ("R0lGOD", "gif"), ("UklGR", "webp"))
"""How the base64 of the kinds of images begins that engines take."""


def _image_url(image: str) -> str:
    if image.startswith(("data:", "http://", "https://")):
        return image
    kind = next((kind for begin, kind in _SIGNATURES if image.startswith(begin)), "jpeg")
    return f"data:image/{kind};base64,{image}"


def _special(ask: Ask) -> bool:
    """Whether anything of the rarer members is set."""
    return bool(ask.tools or ask.extra or ask.keep_alive is not None) or not (
        ask.format is None and ask.thinking is None and ask.logprobs is None
    )


def _add(ask: Ask, kind: Kind, body: dict[str, Any]) -> tuple[str, ...]:
    """The rarer members; the names of what this engine has no word for."""
    dropped = ["keep_alive"] if ask.keep_alive is not None else []
    if ask.tools:
        body["tools"] = ask.tools
        if ask.tool_choice is not None:
            body["tool_choice"] = ask.tool_choice
    if ask.format == "json":
        body["response_format"] = {"type": "json_object"}
    elif isinstance(ask.format, Mapping):
        body["response_format"] = {"type": "json_schema", "json_schema": {"name": "answer", "schema": ask.format}}
    if isinstance(ask.thinking, str):
        body["reasoning_effort"] = ask.thinking
    elif ask.thinking is not None and kind is Kind.OPENAI:
        dropped.append("reasoning")
    elif ask.thinking is not None:
        body["chat_template_kwargs"] = {"enable_thinking": ask.thinking}
    if ask.logprobs is not None:
        body["logprobs"] = ask.logprobs if ask.raw else True
        if not ask.raw:
            body["top_logprobs"] = ask.logprobs
    body.update(ask.extra)
    return tuple(dropped)


def _calls(calls: list[_Call]) -> tuple[ToolCall, ...]:
    found = []
    for call in calls:
        if call.function is None or not call.function.name:
            raise BrokenAnswer("The engine called a tool without naming it.")
        found.append(ToolCall(call.function.name, call.function.arguments or "{}", call.id or ""))
    return tuple(found)
