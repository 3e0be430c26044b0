"""Reads Ollama's vectors and tells them the way OpenAI would, as numbers or packed into base64."""

from __future__ import annotations

import array
import binascii
import sys

import msgspec

from penstock.errors import BrokenAnswer
from penstock.protocols.dialect import Clock, Timing
from penstock.protocols.ollama_lines import read
from penstock.protocols.ollama_out_types import PromptCounts, Vector
from penstock.protocols.ollama_out_types import Vectors as Answer
from penstock.protocols.ollama_types import NOTHING
from penstock.protocols.reading import Collecting, Noted
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


class Vectors(Collecting, Noted):
    """`/v1/embeddings`."""

    face = Face.OPENAI
    content_type = "application/json"

    __slots__ = ("_count", "_name", "_packed", "_parts")

    def __init__(self, name: str, count: int, timing: Timing, clock: Clock, *, packed: bool) -> None:
        super().__init__(timing, clock)
        self._name = name
        self._count = count
        self._packed = packed
        self._parts = []

    def close(self) -> bytes:
        """As many vectors as texts, or none."""
        found = read(_embedded, self._body(), "embeddings")
        try:
            vectors = [_floats.decode(vector) for vector in found.embeddings]
        except msgspec.DecodeError as error:
            msg = f"Reading Ollama's embeddings: a vector is not a list of numbers ({error})."
            raise BrokenAnswer(msg) from None
        if len(vectors) != self._count:
            msg = f"Reading Ollama's embeddings: {len(vectors)} vectors for {self._count} texts."
            raise BrokenAnswer(msg)
        told = [_pack(vector) for vector in vectors] if self._packed else found.embeddings
        tokens = found.prompt_eval_count or 0
        self.model = found.model
        self.usage = Usage(tokens, 0)
        self._stamp()
        self.finished = True
        return _encode(
            Answer([Vector(at, one) for at, one in enumerate(told)], self._name, PromptCounts(tokens, tokens))
        )


def _pack(vector: list[float]) -> msgspec.Raw:
    """Little-endian 32-bit floats in base64, as OpenAI's clients ask for them."""
    numbers = array.array("f", vector)
    if sys.byteorder == "big":
        numbers.byteswap()
    return msgspec.Raw(b'"' + binascii.b2a_base64(numbers.tobytes(), newline=False) + b'"')
