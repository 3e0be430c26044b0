"""Audio routes: forms in, JSON, text or sound out; passed through with only the model's name changed."""

from __future__ import annotations

import msgspec

from penstock.errors import BadRequest, PenstockError
from penstock.protocols import multipart, openai, refusal
from penstock.protocols.dialect import Call, Clock, Destination, Outgoing, Reader, Timing
from penstock.protocols.openai_usage import Counts
from penstock.types import Face, Operation, Usage


def decode(operation: Operation, path: str, body: bytes, content_type: str) -> Call:
    """The head of a transcription or translation form, or of a speech request (JSON)."""
    if operation is Operation.SPEECH:
        return openai.decode(operation, path, body, content_type)
    fields = multipart.fields(body, content_type)
    model = fields.get("model")
    return Call(
        operation=operation,
        face=Face.OPENAI,
        path=path,
        body=body,
        content_type=content_type,
        model=model.value.decode("utf-8", "replace").strip() if model else "",
        stream=multipart.truthy(fields.get("stream")),
    )


class Form:
    """Multipart in; whatever the engine answers out."""

    def request(self, call: Call, to: Destination) -> Outgoing:
        """The client's form with the backend's model name."""
        body = call.body
        if call.model != to.model:
            field = multipart.fields(call.body, call.content_type).get("model")
            if field is None:
                msg = "Reading the multipart form: no field `model`."
                raise BadRequest(msg, hint="Name the model in the form.", param="model")
            body = multipart.replaced(call.body, field, to.model.encode())
        return Outgoing(path=call.path, body=body, content_type=call.content_type)

    def reader(self, call: Call, to: Destination, timing: Timing, clock: Clock) -> Reader:
        """Transcription streams end without a mark, so only the HTTP framing says that they are whole."""
        del to
        return OpaqueStream(timing, clock) if call.stream else OpaqueAnswer()


class Speech(openai.PassThrough):
    """JSON in, sound out."""

    def reader(self, call: Call, to: Destination, timing: Timing, clock: Clock) -> Reader:
        """Sound is not looked into."""
        del call, to, timing, clock
        return OpaqueAnswer()


class OpaqueAnswer:
    """A whole answer of any type; its framing alone says that it is complete."""

    content_type = ""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self.usage: Usage | None = None
        self.model: str | None = None
        self.answer_id: str | None = None
        self.content = False
        self.finished = False
        self.finish_reason: str | None = None

    def feed(self, data: bytes) -> bytes:
        """Collect."""
        self._parts.append(data)
        return b""

    def close(self) -> bytes:
        """The body as it came; its token usage where it is JSON that carries one."""
        self.content = self.finished = True
        body = b"".join(self._parts)
        if body.startswith(b"{"):
            self.usage = _usage(body)
        return body

    def fault(self, error: PenstockError) -> bytes:
        """The whole refusal."""
        return refusal.body(Face.OPENAI, error)


class OpaqueStream(OpaqueAnswer):
    """A streamed answer passed as it comes."""

    content_type = "text/event-stream; charset=utf-8"

    def __init__(self, timing: Timing, clock: Clock) -> None:
        super().__init__()
        self._timing = timing
        self._clock = clock

    def feed(self, data: bytes) -> bytes:
        """Bytes as they came."""
        self.content = True
        self._timing.last = self._clock()
        self._timing.first = self._timing.first or self._timing.last
        return data

    def close(self) -> bytes:
        """Framing ended cleanly."""
        self.content = self.finished = True
        return b""

    def fault(self, error: PenstockError) -> bytes:
        """An error event."""
        return refusal.stream_error(Face.OPENAI, error)


class _Counted(msgspec.Struct):
    usage: Counts | None = None


def _usage(body: bytes) -> Usage | None:
    try:
        found = msgspec.json.decode(body, type=_Counted).usage
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return found.usage() if found else None
