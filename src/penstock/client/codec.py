"""The contract between a call and the protocols that carry it. No I/O here.

`openai_codec.py` and `ollama_codec.py` are the two implementations; `CODECS` in `codecs.py` names them by wire.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import msgspec

from penstock.client.answer import Answer, Piece, Source
from penstock.client.ask import Ask
from penstock.errors import BadRequest
from penstock.types import Kind

_ENCODER = msgspec.json.Encoder()


class Outgoing(NamedTuple):
    """A request ready to be sent."""

    path: str
    body: bytes
    dropped: tuple[str, ...] = ()


class Reader(Protocol):
    """Turns the bytes of one streamed answer into pieces, whatever the chunking."""

    def feed(self, data: bytes) -> list[Piece]:
        """The pieces that are complete now; raises an EngineFault for what is no answer."""
        ...

    def end(self) -> None:
        """The body is over: raises BrokenAnswer unless the answer was complete."""
        ...


class Codec(Protocol):
    """One protocol."""

    models_path: str
    """Where an engine lists what it serves."""
    content_type: str
    """Of a streamed answer."""

    def request(self, ask: Ask, kind: Kind, model: str, *, stream: bool) -> Outgoing: ...

    def whole(self, body: bytes, source: Source) -> Answer:
        """Raises BrokenAnswer for a body that is no answer (S1.35)."""
        ...

    def reader(self, source: Source) -> Reader: ...

    def error(self, body: bytes) -> str:
        """The sentence in an error's body."""
        ...

    def models(self, body: bytes) -> list[Served]:
        """The list of what is served; raises BrokenAnswer."""
        ...


class Served(NamedTuple):
    """One model that an engine lists."""

    name: str
    window: int | None = None
    """Tokens, prompt and answer together; None where the list does not say."""


def encoded(body: Mapping[str, Any]) -> bytes:
    """The JSON of a request; BadRequest where something in it has none."""
    try:
        return _ENCODER.encode(body)
    except UnicodeEncodeError as wrong:
        text = f"{wrong.object[max(wrong.start - 20, 0) : wrong.end]!a}"
        raise BadRequest(
            f"A text to send holds half a character: {text}", hint="Decode it with errors='replace'."
        ) from None
    except TypeError as wrong:
        raise BadRequest(f"An argument to send is nothing that JSON knows: {wrong}") from None
