"""Reads Ollama's vectors and tells them the way OpenAI would, as numbers or packed into base64."""

from __future__ import annotations

import array
import binascii
import sys

import msgspec

from penstock.errors import BrokenAnswer, EngineRefused, PenstockError
from penstock.protocols import refusal
from penstock.protocols.dialect import Clock, Timing
from penstock.protocols.ollama_out_types import PromptCounts, Vector
from penstock.protocols.ollama_out_types import Vectors as Answer
from penstock.protocols.ollama_types import NOTHING, said
from penstock.types import Face, Usage

_encode = msgspec.json.Encoder().encode
_floats = msgspec.json.Decoder(list[float])


class _Embedded(msgspec.Struct):
    """An answer of `/api/embed`."""

    embeddings: list[msgspec.Raw] = []
    model: str | None = None
    prompt_eval_count: int | None = None
    error: msgspec.Raw = NOTHING


_embedded = msgspec.json.Decoder(_Embedded)


class Vectors:
    """`/v1/embeddings`."""

    content_type = "application/json"

    def __init__(self, name: str, count: int, timing: Timing, clock: Clock, *, packed: bool) -> None:
        self._name = name
        self._count = count
        self._timing = timing
        self._clock = clock
        self._packed = packed
        self._parts: list[bytes] = []
        self.usage: Usage | None = None
        self.model: str | None = None
        self.answer_id: str | None = None
        self.content = False
        self.finished = False
        self.finish_reason: str | None = None

    def feed(self, data: bytes) -> bytes:
        """Collect; the line bounds how much."""
        self._parts.append(data)
        return b""

    def close(self) -> bytes:
        """As many vectors as texts, or none."""
        data = b"".join(self._parts)
        try:
            found = _embedded.decode(data)
            vectors = [_floats.decode(vector) for vector in found.embeddings]
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            msg = f"Reading Ollama's embeddings: they are not the JSON they should be ({error})."
            raise BrokenAnswer(msg) from None
        if said(found.error):
            msg = f"Ollama reported an error in its answer: {refusal.message_of(data)}"
            raise EngineRefused(msg)
        if len(vectors) != self._count:
            msg = f"Reading Ollama's embeddings: {len(vectors)} vectors for {self._count} texts."
            raise BrokenAnswer(msg)
        told = [_pack(vector) for vector in vectors] if self._packed else found.embeddings
        tokens = found.prompt_eval_count or 0
        self.model = found.model
        self.usage = Usage(tokens, 0)
        self._timing.first = self._timing.last = self._clock()
        self.content = self.finished = True
        return _encode(
            Answer([Vector(at, one) for at, one in enumerate(told)], self._name, PromptCounts(tokens, tokens))
        )

    def fault(self, error: PenstockError) -> bytes:
        """Whole answers are never begun, so this is the whole refusal."""
        return refusal.body(Face.OPENAI, error)


def _pack(vector: list[float]) -> msgspec.Raw:
    """Little-endian 32-bit floats in base64, as OpenAI's clients ask for them."""
    numbers = array.array("f", vector)
    if sys.byteorder == "big":
        numbers.byteswap()
    return msgspec.Raw(b'"' + binascii.b2a_base64(numbers.tobytes(), newline=False) + b'"')
