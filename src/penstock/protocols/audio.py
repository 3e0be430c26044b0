"""Audio routes: forms in, JSON, text or sound out; passed through with only the model's name changed."""

from __future__ import annotations

import msgspec

from penstock.errors import BadRequest
from penstock.protocols import multipart, openai
from penstock.protocols.audio_stream import TranscriptStream
from penstock.protocols.dialect import Call, Clock, Destination, Outgoing, Reader, Timing
from penstock.protocols.openai_usage import Counts
from penstock.protocols.reading import Collecting, Noted
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
        """Event by event, or a whole of which the HTTP framing alone says that it is one."""
        del to
        return (TranscriptStream if call.stream else OpaqueAnswer)(timing, clock)


class Speech(openai.PassThrough):
    """JSON in, sound out."""

    def reader(self, call: Call, to: Destination, timing: Timing, clock: Clock) -> Reader:
        """Sound is not looked into."""
        del call, to
        return OpaqueAnswer(timing, clock)


class OpaqueAnswer(Collecting, Noted):
    """A whole answer of any type; its framing alone says that it is complete."""

    face = Face.OPENAI
    content_type = ""

    def __init__(self, timing: Timing, clock: Clock) -> None:
        super().__init__(timing, clock)
        self._parts = []

    def close(self) -> bytes:
        """The body as it came; its token usage where it is JSON that carries one."""
        self.content = self.finished = True
        body = self._body()
        if body.startswith(b"{"):
            self.usage = _usage(body)
        return body


class _Counted(msgspec.Struct):
    usage: Counts | None = None


def _usage(body: bytes) -> Usage | None:
    try:
        found = msgspec.json.decode(body, type=_Counted).usage
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return found.usage() if found else None
