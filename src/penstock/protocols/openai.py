"""OpenAI's wire as vLLM speaks it: heads of requests, and readers that watch an answer pass without rewriting it.

The client's bytes go to the engine with the smallest splice, the engine's bytes go to the client event by event. What
we injected for our own accounting is taken out again. Anthropic's `/v1/messages` rides the same wire.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from penstock.errors import BrokenAnswer, EngineRefused
from penstock.protocols import json_body, ollama_keys, refusal, splice, strange
from penstock.protocols.dialect import Call, Clock, Destination, Outgoing, Reader, Timing
from penstock.protocols.openai_stream import ChatStream, MessagesStream, ResponsesStream
from penstock.protocols.openai_usage import Counts
from penstock.protocols.reading import Collecting
from penstock.types import Face, Kind, Operation, Usage

_KEYS = (b'"model"',)
_STREAM_KEYS = (b'"stream"', b'"stream_options"')
_encode = msgspec.json.Encoder().encode


class _StreamOptions(msgspec.Struct, gc=False):
    include_usage: bool | None = None


class _Head(msgspec.Struct, gc=False):
    model: str | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    user: str | None = None
    session_id: str | None = None
    previous_response_id: str | None = None
    n: object = None
    prompt: msgspec.Raw = msgspec.Raw()


_head = msgspec.json.Decoder(_Head)


def decode(operation: Operation, path: str, body: bytes, content_type: str) -> Call:
    """The head of an OpenAI or Anthropic request; an absent model is the default alias' business."""
    head = json_body.decode(_head, body, _KEYS)
    if head.stream is not None or head.stream_options is not None:
        json_body.refuse_repeated(body, _STREAM_KEYS)
    options = head.stream_options
    # By position: this is the one place where it is made for every request, and naming the fields costs three times as much.
    return Call(
        operation,
        _FACES[operation],
        path,
        body,
        content_type or "application/json",
        head.model or "",
        bool(head.stream) and operation in _STREAMS,
        head.session_id or head.user,
        options is not None and bool(options.include_usage),
        head.previous_response_id,
        None,
        1 if head.n is None and operation is not Operation.COMPLETION else _choices(head),
    )


def _choices(head: _Head) -> int:
    """A list of prompts, or of the tokens of one, is for the engine to count, and so is an `n` that is no number."""
    if bytes(memoryview(head.prompt)[:1]) == b"[":
        return 0
    n = 1 if head.n is None else head.n
    return n if type(n) is int and n > 0 else 0


_STEERING = frozenset({"model", "stream", "previous_response_id"})
"""Keys we read; Ollama would also take them in other cases, as Go does."""
_FACES = dict.fromkeys(Operation, Face.OPENAI) | {
    Operation.MESSAGES: Face.ANTHROPIC,
    Operation.COUNT_TOKENS: Face.ANTHROPIC,
}
_STREAMS: dict[Operation, Callable[[Call, Timing, Clock], Reader]] = {
    Operation.CHAT: ChatStream,
    Operation.COMPLETION: ChatStream,
    Operation.RESPONSES: ResponsesStream,
    Operation.MESSAGES: MessagesStream,
}


class PassThrough:
    """Both ends speak the same protocol."""

    def request(self, call: Call, to: Destination) -> Outgoing:
        """The client's bytes with the backend's model name and, for our accounting, the usage of a stream."""
        body = call.body
        if to.kind is Kind.OLLAMA:
            ollama_keys.check(body, _STEERING)
        if not call.model:
            body = splice.replace(body, {"model": _encode(to.model)})
        elif call.model != to.model:
            body = splice.replace_present(body, "model", _encode(to.model))
        if call.stream and not call.usage_asked and call.operation in {Operation.CHAT, Operation.COMPLETION}:
            body = _ask_usage(body)
        return Outgoing(call.path, body, call.content_type)

    def reader(self, call: Call, to: Destination, timing: Timing, clock: Clock) -> Reader:
        """A watcher for the answer."""
        del to
        if not call.stream:
            return JsonAnswer(call.face, call.operation)
        return _STREAMS[call.operation](call, timing, clock)


def _ask_usage(body: bytes) -> bytes:
    if b'"stream_options"' not in body and b"\\u00" not in body:
        return splice.insert(body, b'"stream_options":{"include_usage":true}')
    found = splice.spans(body).get("stream_options")
    options = msgspec.json.decode(body[found.value : found.end], type=dict[str, msgspec.Raw] | None) if found else None
    merged = {**(options or {}), "include_usage": msgspec.Raw(b"true")}
    return splice.replace(body, {"stream_options": _encode(merged)})


class _Choice(msgspec.Struct, gc=False):
    finish_reason: str | None = None


class _Whole(msgspec.Struct, gc=False):
    id: str | None = None
    model: str | None = None
    usage: Counts | None = None
    error: object = None
    choices: list[_Choice] = []


_whole = msgspec.json.Decoder(_Whole)
_array = msgspec.json.Decoder(list[msgspec.Raw])


class JsonAnswer(Collecting):
    """A whole JSON answer, checked to be one before a byte of it is passed on."""

    content_type = "application/json"
    # until it is whole; one that is made for every request sets nothing that is not its own
    usage: Usage | None = None
    model: str | None = None
    answer_id: str | None = None
    content = False
    finished = False
    finish_reason: str | None = None

    def __init__(self, face: Face = Face.OPENAI, operation: Operation = Operation.CHAT) -> None:
        self.face = face
        self._operation = operation
        self._parts = []

    def close(self) -> bytes:
        """The body as it came, once it is known to be whole."""
        body = self._body()
        found = _decode_whole(body)
        if found.error is not None:
            msg = f"The engine answered 200 with an error: {refusal.message_of(body)}"
            raise EngineRefused(msg)
        if found.usage is not None:
            self.usage = found.usage.usage()
        self.model, self.answer_id = found.model, found.id
        if found.choices:
            reason = self.finish_reason = found.choices[0].finish_reason
            if reason in strange.GIVEN_UP or len(found.choices) > 1:
                strange.check_choices(found.choices)
        else:
            strange.check_whole(self._operation, body)
        self.content = self.finished = True
        return body


def _decode_whole(body: bytes) -> _Whole:
    try:
        if not body.isascii():
            body.decode()  # what the decoder skips it does not look at, and it goes to the client all the same
        if body[:1] == b"[":
            _array.decode(body)
            return _Whole()
        return _whole.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        msg = f"Reading the engine's answer: it is not the JSON it should be ({error})."
        raise BrokenAnswer(msg) from None
