"""Ollama clients in front of Ollama: bytes pass; only the model's name is replaced on the way in.

The answer is watched line by line for its usage, its end and its errors, and passed on as it came.
"""

from __future__ import annotations

import msgspec

from penstock.errors import BrokenAnswer, EngineRefused, PenstockError
from penstock.protocols import ndjson, refusal, splice
from penstock.protocols.dialect import Call, Clock, Destination, Outgoing, Reader, Timing
from penstock.protocols.ollama_types import NOTHING, said
from penstock.protocols.passage import passed
from penstock.types import Face, Operation, Usage

_encode = msgspec.json.Encoder().encode


class _Turn(msgspec.Struct):
    content: str | None = None
    thinking: str | None = None
    tool_calls: list[msgspec.Raw] | None = None


class _Line(msgspec.Struct):
    """Of a line, what we need to know."""

    model: str | None = None
    message: _Turn | None = None
    response: str | None = None
    thinking: str | None = None
    done: bool | None = None
    done_reason: str | None = None
    prompt_eval_count: int | None = None
    eval_count: int | None = None
    embeddings: list[msgspec.Raw] | None = None
    embedding: msgspec.Raw = NOTHING
    error: msgspec.Raw = NOTHING


_line = msgspec.json.Decoder(_Line)


class PassThrough:
    """Both ends speak Ollama."""

    def request(self, call: Call, to: Destination) -> Outgoing:
        """The client's bytes with the backend's name for the model."""
        body = call.body if call.model == to.model else splice.replace_present(call.body, "model", _encode(to.model))
        return Outgoing(path=call.path, body=body)

    def reader(self, call: Call, to: Destination, timing: Timing, clock: Clock) -> Reader:
        """A watcher for the answer."""
        del to
        # Ollama answers a load or an unload with one object, whatever `stream` says.
        if call.stream and not call.idle:
            return Lines(timing, clock)
        return Whole(timing, clock, embedding=call.operation is Operation.EMBEDDING)


class _Watcher:
    """What both readers look for."""

    __slots__ = ("_clock", "_timing", "answer_id", "content", "finish_reason", "finished", "model", "usage")

    def __init__(self, timing: Timing, clock: Clock) -> None:
        self._timing = timing
        self._clock = clock
        self.usage: Usage | None = None
        self.model: str | None = None
        self.answer_id: str | None = None
        self.content = False
        self.finished = False
        self.finish_reason: str | None = None

    def _watch(self, data: bytes) -> _Line:
        try:
            line = _line.decode(data)
            if not data.isascii():
                data.decode()
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            msg = f"Reading Ollama's answer: it is not the JSON it should be ({error})."
            raise BrokenAnswer(msg) from None
        if said(line.error):
            msg = f"Ollama reported an error in its answer: {refusal.message_of(data)}"
            raise EngineRefused(msg)
        self.model = line.model or self.model
        turn = line.message
        if line.response or line.thinking or (turn and (turn.content or turn.thinking or turn.tool_calls)):
            self._stamp()
        if line.prompt_eval_count is not None or line.eval_count is not None:
            self.usage = Usage(line.prompt_eval_count or 0, line.eval_count or 0)
        if line.done:
            self.finished = self.content = True
            self.finish_reason = line.done_reason or "stop"
        return line

    def _stamp(self) -> None:
        now = self._clock()
        self._timing.first = self._timing.first or now
        self._timing.last = now
        self.content = True


class Lines(_Watcher):
    """A stream of lines."""

    content_type = "application/x-ndjson"

    __slots__ = ("_splitter",)

    def __init__(self, timing: Timing, clock: Clock) -> None:
        super().__init__(timing, clock)
        self._splitter = ndjson.Splitter()

    def feed(self, data: bytes) -> bytes:
        """Whole lines; nothing may follow the last one."""
        return passed(self._splitter.feed(data), self._pass)

    def close(self) -> bytes:
        """The last line may lack its end."""
        rest = self._splitter.rest()
        last = self._pass(rest) if rest and not self.finished else b""
        if not self.finished:
            msg = "Ollama ended its stream without finishing the answer."
            raise BrokenAnswer(msg)
        return last

    def fault(self, error: PenstockError) -> bytes:
        """A line that says what went wrong."""
        return refusal.stream_error(Face.OLLAMA, error)

    def _pass(self, line: bytes) -> bytes:
        if self.finished:
            return b""
        self._watch(line)
        return line + b"\n"


class Whole(_Watcher):
    """One object: an answer, or vectors."""

    content_type = "application/json; charset=utf-8"

    __slots__ = ("_embedding", "_parts")

    def __init__(self, timing: Timing, clock: Clock, *, embedding: bool) -> None:
        super().__init__(timing, clock)
        self._embedding = embedding
        self._parts: list[bytes] = []

    def feed(self, data: bytes) -> bytes:
        """Collect; the line bounds how much."""
        self._parts.append(data)
        return b""

    def close(self) -> bytes:
        """The body as it came, once it is known to be an answer."""
        body = b"".join(self._parts)
        found = self._watch(body)
        if self._embedding:
            self.finished = self.content = found.embeddings is not None or said(found.embedding)
        if not self.finished:
            msg = "Reading Ollama's answer: it does not say that it is done."
            raise BrokenAnswer(msg)
        self._stamp()
        return body

    def fault(self, error: PenstockError) -> bytes:
        """Whole answers are never begun, so this is the whole refusal."""
        return refusal.body(Face.OLLAMA, error)
