"""Watchers for event streams of the OpenAI family: chat and completions, responses, messages.

Events pass as they came. Each is decoded far enough to know its usage, its finish and its errors, about half a
microsecond; a stream that ends without saying that it is complete is an error, never an answer.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, TypeVar

import msgspec

from penstock.errors import BrokenAnswer, EngineRefused, PenstockError
from penstock.protocols import refusal, strange
from penstock.protocols.dialect import Call, Clock, Timing
from penstock.protocols.known_event import KnownEvent, learn
from penstock.protocols.openai_usage import Counts
from penstock.protocols.passage import passed
from penstock.protocols.reading import Noted
from penstock.protocols.sse import Splitter, payload
from penstock.types import Face, Usage

LESSONS = 4
"""Shapes of events learnt from one stream; one whose events differ in more than their text is not worth more."""


class _Delta(msgspec.Struct):
    content: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[msgspec.Raw] | None = None
    refusal: str | None = None


class _Choice(msgspec.Struct):
    index: int = 0
    delta: _Delta | None = None
    text: str | None = None
    finish_reason: str | None = None


class _Chunk(msgspec.Struct):
    model: str | None = None
    choices: list[_Choice] = []
    usage: Counts | None = None
    error: object = None


_chunk = msgspec.json.Decoder(_Chunk)
Event = TypeVar("Event")


class _Watcher(Noted, ABC):
    """What the three streams share: cutting, errors, timing. Subclasses say what an event means."""

    face: ClassVar[Face] = Face.OPENAI
    content_type = "text/event-stream; charset=utf-8"

    __slots__ = ("_splitter",)

    def __init__(self, call: Call, timing: Timing, clock: Clock) -> None:
        del call
        super().__init__(timing, clock)
        self._splitter = Splitter()

    def feed(self, data: bytes) -> bytes:
        """Whole events that may go on to the client."""
        events = self._splitter.feed(data)
        if len(events) == 1:
            return self._pass(events[0])
        return passed(events, self._pass)

    def close(self) -> bytes:
        """What the end itself completes; an unfinished stream is broken."""
        rest = passed(self._splitter.last(), self._pass)
        if not self.finished:
            msg = "The engine ended its stream without finishing the answer."
            raise BrokenAnswer(msg)
        return rest

    def fault(self, error: PenstockError) -> bytes:
        """An explicit error event."""
        return refusal.stream_error(self.face, error)

    @abstractmethod
    def _pass(self, event: bytes) -> bytes:
        """What goes on to the client of one whole event."""


class ChatStream(_Watcher):
    """`/v1/chat/completions` and `/v1/completions`."""

    __slots__ = ("_choices", "_done", "_finished", "_injected", "_known", "_lessons", "_seen")

    def __init__(self, call: Call, timing: Timing, clock: Clock) -> None:
        super().__init__(call, timing, clock)
        self._injected = not call.usage_asked
        self._choices = call.choices
        self._done = False
        self._known: KnownEvent | None = None
        self._lessons = LESSONS
        self._seen: set[int] = set()
        self._finished: frozenset[int] = frozenset()  # empty for most of a stream's life

    def feed(self, data: bytes) -> bytes:
        """Whole events that may go on to the client."""
        if self._done:
            return b""
        if self._splitter.held:
            return super().feed(data)
        if self._known is not None:
            passed = self._known.passed(data)
            if passed is not None:
                self._timing.last = self._clock()
                return passed
        # The usual read is one event with one choice that brings a piece of content: it is looked at without detours.
        if (
            data.startswith(b"data: {")
            and data.endswith(b"}\n\n")
            and data.find(b"\n") == len(data) - 2
            and b"\r" not in data
        ):
            chunk = _read(_chunk, data[6:-2])
            passed = self._take(chunk, data)
            if self._lessons:
                self._learn(chunk, data, passed)
            return passed
        return super().feed(data)

    def _learn(self, chunk: _Chunk, data: bytes, passed: bytes) -> None:
        if len(chunk.choices) != 1 or chunk.usage is not None:
            return
        choice = chunk.choices[0]
        delta = choice.delta or _Delta()
        text = choice.text or delta.content
        others = (delta.tool_calls, delta.reasoning, delta.reasoning_content, delta.refusal, choice.finish_reason)
        if text and others == (None,) * len(others):
            self._lessons -= 1
            self._known = learn(data, passed, text)

    def _pass(self, event: bytes) -> bytes:
        if self._done:
            return b""
        data = payload(event)
        if data is None:
            return event
        if data == b"[DONE]":
            self._done = True
            if not self._finished or self._finished != self._seen:
                whose = "finishing the answer" if self.content else "an answer"
                msg = f"The engine ended its stream without {whose}: it sent [DONE] and no finish reason."
                raise BrokenAnswer(msg)
            self.finished = True
            return event
        return self._take(_read(_chunk, data), event)

    def _take(self, chunk: _Chunk, event: bytes) -> bytes:
        if chunk.error is not None:
            msg = f"The engine reported an error in its stream: {refusal.message_of(payload(event) or b'')}"
            raise EngineRefused(msg)
        for choice in chunk.choices:
            self._watch(choice)
        if not chunk.choices and chunk.usage is None:
            strange.check_chunk(payload(event) or b"")
        if chunk.usage is None and b'"usage"' not in event:
            self.model = chunk.model or self.model
            return event
        return self._account(chunk, event)

    def _watch(self, choice: _Choice) -> None:
        delta = choice.delta
        if (
            (delta is not None and (delta.content or delta.tool_calls or delta.reasoning))
            or choice.text
            or (delta is not None and (delta.reasoning_content or delta.refusal))
        ):
            self._stamp()
        if choice.index not in self._seen:
            self._seen.add(choice.index)
            self.finished = False
        if choice.finish_reason:  # some engines write "" where they mean null
            strange.check_finish(choice.finish_reason)
            self._finished |= {choice.index}
            self.finish_reason = choice.finish_reason
            self.content = True
            # One that has not begun yet is missing all the same; what cannot be counted ends with `[DONE]` alone.
            self.finished = self._finished == self._seen and 0 < self._choices <= len(self._finished)

    def _account(self, chunk: _Chunk, event: bytes) -> bytes:
        if chunk.model is not None:
            self.model = chunk.model
        if chunk.usage is not None:
            self.usage = chunk.usage.usage()
            if self._injected and not chunk.choices:
                return b""
        elif self._injected and b'"usage"' in event:
            return event.replace(b',"usage":null', b"").replace(b', "usage": null', b"")
        return event

    def close(self) -> bytes:
        """An engine that finished every choice but forgot `[DONE]` gets it added."""
        rest = super().close()
        return rest if self._done else rest + b"data: [DONE]\n\n"


def _read(decoder: msgspec.json.Decoder[Event], data: bytes) -> Event:
    try:
        if not data.isascii():
            data.decode()  # what the decoder skips it does not look at, and it goes to the client all the same
        return decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        strange.check_error(data)
        msg = f"Reading the engine's stream: a malformed event ({error})."
        raise BrokenAnswer(msg) from None


class _Response(msgspec.Struct):
    id: str | None = None
    model: str | None = None
    usage: Counts | None = None
    status: str | None = None


class _ResponseEvent(msgspec.Struct):
    type: str = ""
    what: str | None = msgspec.field(default=None, name="object")
    response: _Response | None = None
    error: object = None
    message: str | None = None


_response_event = msgspec.json.Decoder(_ResponseEvent)
_RESPONSE_ENDS = frozenset({"response.completed", "response.incomplete", "response.failed", "response.cancelled"})


class ResponsesStream(_Watcher):
    """`/v1/responses`."""

    __slots__ = ()

    def _pass(self, event: bytes) -> bytes:
        if self.finished:
            return b""
        data = payload(event)
        if data is None or data == b"[DONE]":
            return event
        found = _read(_response_event, data)
        if found.type == "error" or (not found.type and found.error is not None):
            msg = f"The engine reported an error in its stream: {found.message or refusal.message_of(data)}"
            raise EngineRefused(msg)
        if not found.type or found.what == "error":
            strange.check_typed(data)
        if found.response is not None:
            self._note(found.response)
        if found.type.endswith(".delta"):
            self._stamp()
        if found.type in _RESPONSE_ENDS:
            self._check_end(found, data)
            self.content = self.finished = True
            self.finish_reason = found.type.removeprefix("response.")
        return event

    def _check_end(self, found: _ResponseEvent, data: bytes) -> None:
        """What failed before it said anything may be asked of another; what was given up is not complete, whatever its name."""
        status = found.response.status if found.response is not None else None
        if found.type == "response.failed" and not self.content:
            msg = f"The engine reported an error in its stream: {strange.failure(data)}"
            raise EngineRefused(msg)
        if found.type == "response.completed" and status in strange.NOT_COMPLETED:
            msg = f"The engine gave the answer up in the middle (its status is {status!r})."
            raise BrokenAnswer(msg)

    def _note(self, response: _Response) -> None:
        self.model = response.model or self.model
        self.answer_id = response.id or self.answer_id
        if response.usage is not None:
            self.usage = response.usage.usage()


class _Message(msgspec.Struct):
    id: str | None = None
    model: str | None = None
    usage: Counts | None = None


class _Stop(msgspec.Struct):
    stop_reason: str | None = None


class _MessageEvent(msgspec.Struct):
    type: str = ""
    what: str | None = msgspec.field(default=None, name="object")
    message: _Message | None = None
    delta: _Stop | None = None
    usage: Counts | None = None


_message_event = msgspec.json.Decoder(_MessageEvent)


class MessagesStream(_Watcher):
    """Anthropic's `/v1/messages`."""

    face = Face.ANTHROPIC
    __slots__ = ()

    def _pass(self, event: bytes) -> bytes:
        if self.finished:
            return b""
        data = payload(event)
        if data is None or data == b"[DONE]":
            return event
        found = _read(_message_event, data)
        if not found.type or "error" in {found.type, found.what}:
            strange.check_typed(data)
        if found.message is not None:
            self.model = found.message.model or self.model
            self._count(found.message.usage)
        self._count(found.usage)
        if found.delta is not None and found.delta.stop_reason:
            self.finish_reason = found.delta.stop_reason
        if found.type == "content_block_delta":
            self._stamp()
        if found.type == "message_stop":
            self._stop()
        return event

    def _stop(self) -> None:
        if self.finish_reason is None:
            # so vLLM ends an answer that it gave up
            msg = "The engine ended its stream without finishing the answer: no reason to stop was given."
            raise BrokenAnswer(msg)
        self.content = self.finished = True

    def _count(self, counts: Counts | None) -> None:
        if counts is None:
            return
        before = self.usage or Usage()
        self.usage = Usage(
            counts.input_tokens or before.prompt_tokens, counts.output_tokens or before.completion_tokens
        )
