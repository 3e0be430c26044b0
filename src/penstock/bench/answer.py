"""One streamed answer as it arrives: when its pieces came, how it ended, how many tokens the engine says it had.

A listener of `wire`; both protocols end in the same `Sample`. Texts are not kept: this is about time.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from array import array
from dataclasses import dataclass, field
from typing import Final, TypeVar

import msgspec

from penstock.errors import BrokenAnswer, EngineFault, EngineRefused
from penstock.protocols.ndjson import Splitter as Lines
from penstock.protocols.openai_usage import Counts
from penstock.protocols.sse import Splitter as Events
from penstock.protocols.sse import payload
from penstock.types import Usage, Wire

T = TypeVar("T")

_REASON: Final = 4096
"""Bytes of a refusal's body that are read."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One request, measured. Times are nanoseconds of `time.perf_counter_ns`; 0 where it did not happen."""

    place: int
    """Its number within its level; the same on both sides of a comparison."""
    prompt: int
    """The line of its prompt."""
    due: int
    """When it was to be sent."""
    sent: int = 0
    first: int = 0
    """Arrival of the first content."""
    last: int = 0
    """Arrival of the last content."""
    ended: int = 0
    """Arrival of the end of the answer, or when it failed."""
    gaps: array[int] = field(default_factory=lambda: array("q"))
    """Nanoseconds between the pieces of content."""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    """As the engine counted them; None where it told nothing."""
    finish: str = ""
    backend: str = ""
    """Which engine answered, where a Penstock says so."""
    fault: str = ""
    """A kind of error; empty for a whole answer."""
    message: str = ""


class Reading(ABC):
    """What both protocols share: clocks, refusals, the sample at the end."""

    def __init__(self, place: int, prompt: int, due: int) -> None:
        self._place, self._prompt, self._due = place, prompt, due
        self._sent = self._first = self._last = self._ended = 0
        self._gaps = array("q")
        self._status = 0
        self._refusal = b""
        self._usage: Usage | None = None
        self._finish = self._backend = ""
        self._whole = False

    def sent(self, at: int) -> None:
        """Now, or again on another connection."""
        self._sent = at

    def head(self, status: int, headers: dict[str, str]) -> None:
        """The status; and who answers, where it is a gateway's choice."""
        self._status = status
        self._backend = one_line(headers.get("x-penstock-backend", ""))

    def received(self, data: bytes, at: int) -> None:
        """Pieces, each with the time at which its bytes came."""
        if self._status != 200:
            self._refusal = (self._refusal + data)[:_REASON]
            return
        for _ in range(self._take(data)):  # several pieces that came at once came without a gap
            if self._last:
                self._gaps.append(at - self._last)
            else:
                self._first = at
            self._last = at

    def complete(self, at: int) -> None:
        """The end of the body; an answer that did not say that it is whole is broken."""
        self._ended = at
        if self._status != 200:
            raise EngineRefused(reason_of(self._refusal) or "without a reason")
        self._finish_up()
        if not self._whole:
            raise BrokenAnswer("the stream ended before the answer was complete")

    def sample(self) -> Sample:
        """A whole answer."""
        return self._sample("", "")

    def failed(self, error: EngineFault) -> Sample:
        """What was measured until it failed, and the kind of the failure."""
        self._ended = time.perf_counter_ns()
        kind = f"status {self._status}" if self._status not in {0, 200} else error.reason
        return self._sample("in stream" if kind == "5xx" else kind, error.message)

    def _sample(self, fault: str, message: str) -> Sample:
        told = self._usage
        return Sample(
            place=self._place,
            prompt=self._prompt,
            due=self._due,
            sent=self._sent,
            first=self._first,
            last=self._last,
            ended=self._ended,
            gaps=self._gaps,
            prompt_tokens=told.prompt_tokens if told else None,
            completion_tokens=told.completion_tokens if told else None,
            finish=self._finish,
            backend=self._backend,
            fault=fault,
            message=message,
        )

    @abstractmethod
    def _take(self, data: bytes) -> int:
        """How many pieces of content these bytes complete."""

    def _finish_up(self) -> None:  # noqa: B027 - one protocol has nothing to do here
        """The last bytes may lack an end."""


class _Delta(msgspec.Struct):
    content: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None


class _Choice(msgspec.Struct):
    delta: _Delta | None = None
    text: str | None = None
    finish_reason: str | None = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] = []
    usage: Counts | None = None
    error: msgspec.Raw = msgspec.Raw()


class OpenAIReading(Reading):
    """`/v1/chat/completions`, streamed."""

    def __init__(self, place: int, prompt: int, due: int) -> None:
        super().__init__(place, prompt, due)
        self._events = Events()

    def _take(self, data: bytes) -> int:
        content = 0
        for event in self._events.feed(data):
            told = payload(event)
            if told == b"[DONE]":
                self._whole = True
            elif told:
                content += self._chunk(told)
        return content

    def _chunk(self, told: bytes) -> bool:
        chunk = _decoded(told, _CHUNK)
        if bytes(chunk.error) not in {b"", b"null"}:
            raise EngineRefused(reason_of(told))
        if chunk.usage is not None:
            self._usage = chunk.usage.usage()
        content = False
        for choice in chunk.choices:
            delta = choice.delta or _Delta()
            content = content or bool(delta.content or delta.reasoning or delta.reasoning_content or choice.text)
            if choice.finish_reason:
                self._finish = choice.finish_reason
        return content


class _Turn(msgspec.Struct):
    content: str = ""
    thinking: str = ""


class _Line(msgspec.Struct):
    message: _Turn | None = None
    done: bool = False
    done_reason: str = ""
    prompt_eval_count: int | None = None
    eval_count: int | None = None
    error: msgspec.Raw = msgspec.Raw()


class OllamaReading(Reading):
    """`/api/chat`, streamed."""

    def __init__(self, place: int, prompt: int, due: int) -> None:
        super().__init__(place, prompt, due)
        self._lines = Lines()

    def _take(self, data: bytes) -> int:
        return sum([self._line(line) for line in self._lines.feed(data)])

    def _finish_up(self) -> None:
        rest = self._lines.rest()
        if rest:
            self._line(rest)

    def _line(self, raw: bytes) -> bool:
        line = _decoded(raw, _LINE)
        if bytes(line.error) not in {b"", b"null"}:
            raise EngineRefused(reason_of(raw))
        if line.done:
            self._whole = True
            self._finish = line.done_reason
            if line.eval_count is not None:
                # Ollama leaves the prompt's count out where it took the prompt from its cache.
                self._usage = Usage(line.prompt_eval_count or 0, line.eval_count)
        return line.message is not None and bool(line.message.content or line.message.thinking)


READINGS: dict[Wire, type[OpenAIReading | OllamaReading]] = {Wire.OPENAI: OpenAIReading, Wire.OLLAMA: OllamaReading}

_CHUNK = msgspec.json.Decoder(_Chunk)
_LINE = msgspec.json.Decoder(_Line)


def _decoded(raw: bytes, decoder: msgspec.json.Decoder[T]) -> T:
    try:
        return decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BrokenAnswer(f"a malformed event ({error})") from None


class _Told(msgspec.Struct):
    error: object = None
    detail: object = None
    message: str = ""


def reason_of(body: bytes) -> str:
    """What an engine says is wrong, whichever way it spells it; one line of at most 200 letters."""
    try:
        told = msgspec.json.decode(body, type=_Told)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return one_line(body.decode(errors="replace"))
    said = told.error or told.detail or told.message
    if isinstance(said, dict):
        said = said.get("message", "")
    return one_line(str(said or ""))


def one_line(text: str) -> str:
    """At most 200 letters of what an engine says, without anything that a terminal would act upon."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())[:200]
