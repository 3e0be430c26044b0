"""Reads an engine's OpenAI answer and tells it the way Ollama would: lines of JSON, or one object.

One reader for chat and for generate: they differ in where the text stands, which is all a `Telling` knows. The last line
comes with `[DONE]`, because the usage may come after the finish.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from penstock.errors import BrokenAnswer, EngineRefused, PenstockError
from penstock.protocols import ollama_metrics, refusal, strange
from penstock.protocols.dialect import Clock, Timing
from penstock.protocols.ollama_openai import (
    Answer,
    Choice,
    Counts,
    Delta,
    Logprobs,
    Measured,
    Timings,
)
from penstock.protocols.ollama_tool_calls import Assembly
from penstock.protocols.ollama_types import (
    ChatAnswer,
    GenerateAnswer,
    Logprob,
    Metrics,
    Said,
    ToolCall,
    TopLogprob,
    moment,
    said,
)
from penstock.protocols.passage import passed
from penstock.protocols.reading import Collecting, Noted
from penstock.protocols.sse import Splitter, payload
from penstock.types import Face, Usage

_answer = msgspec.json.Decoder(Answer)
_encode = msgspec.json.Encoder().encode


class Piece(msgspec.Struct):
    """What one line says; with `metrics` it is the last."""

    content: str = ""
    thinking: str | None = None
    calls: list[ToolCall] | None = None
    logprobs: list[Logprob] | None = None
    done_reason: str | None = None
    metrics: Metrics | None = None


Telling = Callable[[str, str, Piece], bytes]
"""(model, time, piece) → one JSON object."""


def _chat(model: str, at: str, piece: Piece) -> bytes:
    line = ChatAnswer(
        model=model,
        created_at=at,
        message=Said(role="assistant", content=piece.content, thinking=piece.thinking, tool_calls=piece.calls),
        done=piece.metrics is not None,
        done_reason=piece.done_reason,
        logprobs=piece.logprobs,
    )
    _measure(line, piece.metrics)
    return _encode(line)


def _generate(model: str, at: str, piece: Piece) -> bytes:
    line = GenerateAnswer(
        model=model,
        created_at=at,
        response=piece.content,
        thinking=piece.thinking,
        done=piece.metrics is not None,
        done_reason=piece.done_reason,
        logprobs=piece.logprobs,
    )
    _measure(line, piece.metrics)
    return _encode(line)


def _measure(line: ChatAnswer | GenerateAnswer, metrics: Metrics | None) -> None:
    if metrics is None:
        return
    line.total_duration = metrics.total_duration
    line.load_duration = metrics.load_duration
    line.prompt_eval_count = metrics.prompt_eval_count
    line.prompt_eval_duration = metrics.prompt_eval_duration
    line.eval_count = metrics.eval_count
    line.eval_duration = metrics.eval_duration


CHAT: Final[Telling] = _chat
GENERATE: Final[Telling] = _generate


class _Told(Noted):
    """What both readers keep of an answer."""

    __slots__ = ("_calls", "_counts", "_measured", "_model", "_tell", "_timings", "_wall")

    def __init__(self, tell: Telling, model: str, timing: Timing, clock: Clock, wall: Clock) -> None:
        super().__init__(timing, clock)
        self._tell = tell
        self._model = model
        self._wall = wall
        self._calls = Assembly()
        self._counts: Counts | None = None
        self._timings: Timings | None = None
        self._measured: Measured | None = None

    def _note(self, answer: Answer, data: bytes) -> None:
        """What stands beside the text."""
        if said(answer.error):
            msg = f"The engine reported an error in its answer: {refusal.message_of(data)}"
            raise EngineRefused(msg)
        self.model = answer.model or self.model
        self.answer_id = answer.id or self.answer_id
        self._timings = answer.timings or self._timings
        self._measured = answer.metrics or self._measured
        if answer.usage is not None:
            self._counts = answer.usage
            self.usage = Usage(answer.usage.prompt_tokens or 0, answer.usage.completion_tokens or 0)

    def _finish(self, reason: str) -> list[ToolCall]:
        """The engine says that it is done; the calls that are whole now."""
        strange.check_finish(reason)
        self.finish_reason = reason
        self.finished = self.content = True
        return self._calls.end(cut=reason == "length")

    def _line(self, piece: Piece) -> bytes:
        return self._tell(self._model, moment(self._wall()), piece)

    def _metrics(self, *, streamed: bool) -> Metrics:
        now = self._clock()
        return ollama_metrics.of_answer(
            self._timing, now, self._counts, self._timings, self._measured, streamed=streamed
        )

    def _reason(self) -> str:
        return "length" if self.finish_reason == "length" else "stop"


class Stream(_Told):
    """Event by event."""

    content_type = "application/x-ndjson"

    __slots__ = ("_done", "_splitter")

    def __init__(self, tell: Telling, model: str, timing: Timing, clock: Clock, wall: Clock) -> None:
        super().__init__(tell, model, timing, clock, wall)
        self._splitter = Splitter()
        self._done = False

    def feed(self, data: bytes) -> bytes:
        """The lines that these bytes complete."""
        return passed(self._splitter.feed(data), self._event)

    def close(self) -> bytes:
        """An engine that finished but forgot `[DONE]` is forgiven; one that did not finish is not."""
        if self._done:
            return b""
        last = self._splitter.last()
        if last and payload(last[0]) != b"[DONE]":
            return self._event(last[0]) + self._end()
        return self._end()

    def fault(self, error: PenstockError) -> bytes:
        """A line that says what went wrong; Ollama's clients raise it."""
        return refusal.stream_error(Face.OLLAMA, error)

    def _event(self, event: bytes) -> bytes:
        data = None if self._done else payload(event)
        if data is None:
            return b""
        if data == b"[DONE]":
            return self._end()
        answer = _read(data)
        self._note(answer, data)
        if not answer.choices and answer.usage is None:
            strange.check_chunk(data)
        return b"".join([self._choice(choice) for choice in answer.choices or () if choice.index == 0])

    def _choice(self, choice: Choice) -> bytes:
        delta = choice.delta or Delta(content=choice.text)
        piece = Piece(
            content=delta.content or delta.refusal or "",
            thinking=delta.reasoning or delta.reasoning_content or None,
            logprobs=_logprobs(choice.logprobs),
        )
        if piece.content or piece.thinking or delta.tool_calls:
            self._stamp()
        calls = self._calls.add(delta.tool_calls or [])
        # Some servers write "" where they mean null.
        if choice.finish_reason:
            calls += self._finish(choice.finish_reason)
        piece.calls = calls or None
        said_anything = piece.content or piece.thinking or piece.calls or piece.logprobs
        return self._line(piece) + b"\n" if said_anything else b""

    def _end(self) -> bytes:
        if not self.finished:
            msg = "The engine ended its stream without finishing the answer."
            raise BrokenAnswer(msg)
        self._done = True
        return self._line(Piece(done_reason=self._reason(), metrics=self._metrics(streamed=True))) + b"\n"


class Whole(Collecting, _Told):
    """All at once."""

    face = Face.OLLAMA
    content_type = "application/json; charset=utf-8"

    __slots__ = ("_parts",)

    def __init__(self, tell: Telling, model: str, timing: Timing, clock: Clock, wall: Clock) -> None:
        super().__init__(tell, model, timing, clock, wall)
        self._parts = []

    def close(self) -> bytes:
        """The one object."""
        data = self._body()
        answer = _read(data)
        self._note(answer, data)
        choice = next((choice for choice in answer.choices or () if choice.index == 0), None)
        if choice is None:
            msg = "Reading the engine's answer: it holds no choice."
            raise BrokenAnswer(msg)
        self._stamp()
        said_whole = choice.message or Delta(content=choice.text)
        calls = self._calls.add(said_whole.tool_calls or []) + self._finish(choice.finish_reason or "stop")
        return self._line(
            Piece(
                content=said_whole.content or said_whole.refusal or "",
                thinking=said_whole.reasoning or said_whole.reasoning_content or None,
                calls=calls or None,
                logprobs=_logprobs(choice.logprobs),
                done_reason=self._reason(),
                metrics=self._metrics(streamed=False),
            )
        )


def _read(data: bytes) -> Answer:
    try:
        return _answer.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        msg = f"Reading the engine's answer: it is not the JSON it should be ({error})."
        raise BrokenAnswer(msg) from None


def _logprobs(given: Logprobs | None) -> list[Logprob] | None:
    """Both of OpenAI's forms in Ollama's one."""
    if given is None:
        return None
    if given.content:
        return [
            Logprob(
                token=token.token,
                logprob=token.logprob,
                bytes=token.bytes,
                top_logprobs=[TopLogprob(top.token, top.logprob, top.bytes) for top in token.top_logprobs or ()]
                or None,
            )
            for token in given.content
        ]
    return list(_parallel(given)) or None


def _parallel(given: Logprobs) -> Iterable[Logprob]:
    tops = given.top_logprobs or []
    for at, (token, logprob) in enumerate(zip(given.tokens or [], given.token_logprobs or [], strict=False)):
        if logprob is None:
            continue
        others = tops[at] if at < len(tops) else None
        yield Logprob(
            token=token,
            logprob=logprob,
            bytes=list(token.encode("utf-8", "surrogatepass")),
            top_logprobs=[TopLogprob(text, value) for text, value in (others or {}).items()] or None,
        )
