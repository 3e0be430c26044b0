"""A transcript as it comes: OpenAI's events (`transcript.text.done` is the last) or vLLM's chunks (`[DONE]` is).

Events pass as they came. One that is an error, or no event, or a body that ends without either of those ends, is the engine's
fault: a transcript that merely stops would look like all that was said.
"""

from __future__ import annotations

import msgspec

from penstock.errors import BrokenAnswer, PenstockError
from penstock.protocols import refusal, strange
from penstock.protocols.dialect import Clock, Timing
from penstock.protocols.openai_usage import Counts
from penstock.protocols.passage import passed
from penstock.protocols.reading import Noted
from penstock.protocols.sse import Splitter, payload
from penstock.types import Face

_EVENTS = "transcript."
_LAST = "transcript.text.done"


class _Event(msgspec.Struct):
    type: str | None = None
    choices: list[msgspec.Raw] | None = None
    usage: Counts | None = None
    model: str | None = None
    error: msgspec.Raw = msgspec.Raw()


_event = msgspec.json.Decoder(_Event)


class TranscriptStream(Noted):
    """`/v1/audio/transcriptions` and `/v1/audio/translations`, streamed."""

    content_type = "text/event-stream; charset=utf-8"

    __slots__ = ("_splitter",)

    def __init__(self, timing: Timing, clock: Clock) -> None:
        super().__init__(timing, clock)
        self._splitter = Splitter()

    def feed(self, data: bytes) -> bytes:
        """Whole events that may go on to the client."""
        return b"" if self.finished else passed(self._splitter.feed(data), self._pass)

    def close(self) -> bytes:
        """What the end itself completes; an unfinished transcript is broken."""
        rest = passed(self._splitter.last(), self._pass)
        if not self.finished:
            msg = "The engine ended its stream without finishing the transcript."
            raise BrokenAnswer(msg)
        return rest

    def fault(self, error: PenstockError) -> bytes:
        """An error event."""
        return refusal.stream_error(Face.OPENAI, error)

    def _pass(self, event: bytes) -> bytes:
        data = None if self.finished else payload(event)
        if data is None:
            return b"" if self.finished else event
        if data == b"[DONE]":
            self.finished = self.content = True
            return event
        self._watch(data)
        return event

    def _watch(self, data: bytes) -> None:
        try:
            data.decode()
            found = _event.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            strange.check_error(data)
            msg = f"Reading the engine's stream: a malformed event ({error})."
            raise BrokenAnswer(msg) from None
        failed = bytes(found.error) not in {b"", b"null"}
        if (found.choices or (found.type or "").startswith(_EVENTS)) and not failed:
            self._stamp()
        elif failed or found.usage is None:
            strange.check_typed(data)
        self.model = found.model or self.model
        if found.usage is not None:
            self.usage = found.usage.usage()
        if found.type == _LAST:
            self.finished = True
