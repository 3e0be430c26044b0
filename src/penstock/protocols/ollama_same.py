"""Ollama clients in front of Ollama: bytes pass; only the model's name is replaced on the way in.

The answer is watched line by line for its usage, its end and its errors, and passed on as it came.
"""

from __future__ import annotations

import msgspec

from penstock.errors import BrokenAnswer, PenstockError
from penstock.protocols import refusal, splice
from penstock.protocols.dialect import Call, Clock, Destination, Outgoing, Reader, Timing
from penstock.protocols.ndjson import Splitter
from penstock.protocols.ollama_lines import LineByLine, read, undone
from penstock.protocols.ollama_types import NOTHING, said
from penstock.protocols.reading import Collecting, Noted
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


class _Watcher(Noted):
    """What both readers look for."""

    __slots__ = ()

    def _watch(self, data: bytes) -> _Line:
        line = read(_line, data)
        if not data.isascii():
            _check_utf8(data)
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


def _check_utf8(data: bytes) -> None:
    """What the decoder skipped was not looked at, and goes to the client all the same."""
    try:
        data.decode()
    except UnicodeDecodeError as error:
        msg = f"Reading Ollama's answer: it is not UTF-8 ({error})."
        raise BrokenAnswer(msg) from None


class Lines(LineByLine, _Watcher):
    """A stream of lines; nothing may follow the last one."""

    content_type = "application/x-ndjson"

    __slots__ = ("_splitter",)

    def __init__(self, timing: Timing, clock: Clock) -> None:
        super().__init__(timing, clock)
        self._splitter = Splitter()

    def fault(self, error: PenstockError) -> bytes:
        """A line that says what went wrong."""
        return refusal.stream_error(Face.OLLAMA, error)

    def _line(self, data: bytes) -> bytes:
        if self.finished:
            return b""
        self._watch(data)
        return data + b"\n"


class Whole(Collecting, _Watcher):
    """One object: an answer, or vectors."""

    face = Face.OLLAMA
    content_type = "application/json; charset=utf-8"

    __slots__ = ("_embedding", "_parts")

    def __init__(self, timing: Timing, clock: Clock, *, embedding: bool) -> None:
        super().__init__(timing, clock)
        self._embedding = embedding
        self._parts = []

    def close(self) -> bytes:
        """The body as it came, once it is known to be an answer."""
        body = self._body()
        found = self._watch(body)
        if self._embedding:
            self.finished = self.content = found.embeddings is not None or said(found.embedding)
        if not self.finished:
            raise undone()
        self._stamp()
        return body
