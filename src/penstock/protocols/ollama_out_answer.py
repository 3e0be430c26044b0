"""Reads Ollama's answer and tells it the way OpenAI would: chunks in server-sent events, or one object.

One reader for chat and for completions: a `Shape` knows where the text stands. Ids and times are made once per answer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

import msgspec
from msgspec import UNSET, UnsetType

from penstock.errors import BrokenAnswer, PenstockError
from penstock.protocols import refusal, sse
from penstock.protocols.dialect import Clock, Timing
from penstock.protocols.ndjson import Splitter
from penstock.protocols.ollama_lines import LineByLine, read, undone
from penstock.protocols.ollama_out_types import (
    Answer,
    ChatLogprobs,
    Choice,
    Counts,
    Message,
    SaidCall,
    SaidFunction,
    TextLogprobs,
    TokenLogprob,
)
from penstock.protocols.ollama_types import NOTHING, Logprob, ToolCall, said
from penstock.protocols.reading import Collecting, Noted
from penstock.types import Face, Usage

_encode = msgspec.json.Encoder().encode


class _Turn(msgspec.Struct):
    content: str | None = None
    thinking: str | None = None
    tool_calls: list[ToolCall] | None = None


class Line(msgspec.Struct):
    """One line of `/api/chat` or `/api/generate`."""

    model: str | None = None
    message: _Turn | None = None
    response: str | None = None
    thinking: str | None = None
    done: bool | None = None
    done_reason: str | None = None
    prompt_eval_count: int | None = None
    eval_count: int | None = None
    logprobs: list[Logprob] | None = None
    error: msgspec.Raw = NOTHING


_line = msgspec.json.Decoder(Line)


class Piece(msgspec.Struct):
    """What one line adds."""

    text: str
    reasoning: str | None
    calls: list[SaidCall]
    logprobs: list[Logprob] | None
    offset: int
    """Characters of the answer before this piece."""


class Shape(Protocol):
    """How one route writes its answers."""

    prefix: str
    chunk: str
    whole: str

    def opening(self) -> Choice | None:
        """The choice of the first chunk."""
        ...

    def delta(self, piece: Piece) -> Choice:
        """The choice of a chunk that says something."""
        ...

    def closing(self, reason: str) -> Choice:
        """The choice of the chunk that ends the answer."""
        ...

    def full(self, piece: Piece, reason: str) -> Choice:
        """The choice of a whole answer."""
        ...


class _Chat:
    """`/v1/chat/completions`."""

    prefix = "chatcmpl-"
    chunk = "chat.completion.chunk"
    whole = "chat.completion"

    def opening(self) -> Choice | None:
        return Choice(delta=Message(role="assistant", content=""))

    def delta(self, piece: Piece) -> Choice:
        message = Message(reasoning=piece.reasoning, tool_calls=piece.calls or None)
        if piece.text:
            message.content = piece.text
        return Choice(delta=message, logprobs=_chat_logprobs(piece.logprobs))

    def closing(self, reason: str) -> Choice:
        return Choice(delta=Message(), finish_reason=reason)

    def full(self, piece: Piece, reason: str) -> Choice:
        for call in piece.calls:
            call.index = None
        content = piece.text if piece.text or not piece.calls else None
        message = Message(role="assistant", content=content, reasoning=piece.reasoning, tool_calls=piece.calls or None)
        return Choice(message=message, logprobs=_chat_logprobs(piece.logprobs), finish_reason=reason)


class _Text:
    """`/v1/completions`."""

    prefix = "cmpl-"
    chunk = "text_completion"
    whole = "text_completion"

    def opening(self) -> Choice | None:
        return None

    def delta(self, piece: Piece) -> Choice:
        return Choice(text=piece.text, logprobs=_text_logprobs(piece.logprobs, piece.offset))

    def closing(self, reason: str) -> Choice:
        return Choice(text="", finish_reason=reason)

    def full(self, piece: Piece, reason: str) -> Choice:
        return Choice(text=piece.text, logprobs=_text_logprobs(piece.logprobs, piece.offset), finish_reason=reason)


CHAT: Final[Shape] = _Chat()
TEXT: Final[Shape] = _Text()


class _Told(Noted):
    """What both readers keep of an answer."""

    __slots__ = ("_calls", "_created", "_id", "_model", "_new_id", "_offset", "_shape")

    def __init__(
        self, shape: Shape, model: str, timing: Timing, clock: Clock, wall: Clock, new_id: Callable[[], str]
    ) -> None:
        super().__init__(timing, clock)
        self._shape = shape
        self._model = model
        self._new_id = new_id
        self._created = wall() // 1_000_000_000
        self._calls = 0
        self._offset = 0
        self.answer_id = self._id = shape.prefix + new_id()

    def _read(self, data: bytes) -> Line:
        line = read(_line, data)
        self.model = line.model or self.model
        return line

    def _piece(self, line: Line) -> Piece:
        turn = line.message or _Turn(content=line.response, thinking=line.thinking)
        calls = [self._call(call) for call in turn.tool_calls or ()]
        text = turn.content or ""
        piece = Piece(text, turn.thinking or None, calls, line.logprobs, self._offset)
        self._offset += len(text)
        if piece.text or piece.reasoning or piece.calls:
            self._stamp()
        return piece

    def _call(self, call: ToolCall) -> SaidCall:
        arguments = bytes(call.function.arguments).decode() if said(call.function.arguments) else "{}"
        if not arguments.startswith("{"):
            msg = f"Reading Ollama's answer: the arguments of its call of {call.function.name!r} are not an object."
            raise BrokenAnswer(msg)
        at = self._calls
        self._calls += 1
        name = call.id or f"call_{self._new_id()}"
        return SaidCall(id=name, index=at, type="function", function=SaidFunction(call.function.name, arguments))

    def _end(self, line: Line) -> str:
        self.finished = self.content = True
        self.usage = Usage(line.prompt_eval_count or 0, line.eval_count or 0)
        reason = "length" if line.done_reason == "length" else "stop"
        self.finish_reason = "tool_calls" if self._calls and reason == "stop" else reason
        return self.finish_reason

    def _answer(self, kind: str, choices: list[Choice], usage: Counts | UnsetType = UNSET) -> bytes:
        return _encode(Answer(self._id, kind, self._created, self._model, choices, usage))

    def _counts(self) -> Counts:
        used = self.usage or Usage()
        return Counts(used.prompt_tokens, used.completion_tokens, used.prompt_tokens + used.completion_tokens)


class Stream(LineByLine, _Told):
    """Line by line."""

    content_type = "text/event-stream; charset=utf-8"

    __slots__ = ("_opened", "_splitter", "_usage_asked")

    def __init__(
        self,
        shape: Shape,
        model: str,
        timing: Timing,
        clock: Clock,
        wall: Clock,
        new_id: Callable[[], str],
        *,
        usage_asked: bool,
    ) -> None:
        super().__init__(shape, model, timing, clock, wall, new_id)
        self._splitter = Splitter()
        self._usage_asked = usage_asked
        self._opened = False

    def fault(self, error: PenstockError) -> bytes:
        """An explicit error event."""
        return refusal.stream_error(Face.OPENAI, error)

    def _line(self, data: bytes) -> bytes:
        if self.finished:
            return b""
        line = self._read(data)
        piece = self._piece(line)
        choices = []
        if not self._opened:
            self._opened = True
            choices.append(self._shape.opening())
        if piece.text or piece.reasoning or piece.calls or piece.logprobs:
            choices.append(self._shape.delta(piece))
        if line.done:
            choices.append(self._shape.closing(self._end(line)))
        events = [sse.event(self._answer(self._shape.chunk, [choice])) for choice in choices if choice is not None]
        if line.done:
            if self._usage_asked:
                events.append(sse.event(self._answer(self._shape.chunk, [], self._counts())))
            events.append(b"data: [DONE]\n\n")
        return b"".join(events)


class Whole(Collecting, _Told):
    """All at once."""

    face = Face.OPENAI
    content_type = "application/json"

    __slots__ = ("_parts",)

    def __init__(
        self, shape: Shape, model: str, timing: Timing, clock: Clock, wall: Clock, new_id: Callable[[], str]
    ) -> None:
        super().__init__(shape, model, timing, clock, wall, new_id)
        self._parts = []

    def close(self) -> bytes:
        """The one object."""
        line = self._read(self._body())
        if not line.done:
            raise undone()
        piece = self._piece(line)
        choice = self._shape.full(piece, self._end(line))
        return self._answer(self._shape.whole, [choice], self._counts())


def _chat_logprobs(given: list[Logprob] | None) -> ChatLogprobs | None:
    if not given:
        return None
    return ChatLogprobs(
        [
            TokenLogprob(
                token=one.token,
                logprob=one.logprob,
                bytes=one.bytes,
                top_logprobs=[TokenLogprob(top.token, top.logprob, top.bytes) for top in one.top_logprobs or ()],
            )
            for one in given
        ]
    )


def _text_logprobs(given: list[Logprob] | None, at: int) -> TextLogprobs | None:
    if not given:
        return None
    offsets = []
    for one in given:
        offsets.append(at)
        at += len(one.token)
    return TextLogprobs(
        tokens=[one.token for one in given],
        token_logprobs=[one.logprob for one in given],
        top_logprobs=[{top.token: top.logprob for top in one.top_logprobs or ()} for one in given],
        text_offset=offsets,
    )
