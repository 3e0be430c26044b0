"""Reads `/v1/embeddings` and tells it the way Ollama would. Numbers pass as the engine wrote them.

Only `dimensions` touches them: Ollama cuts a vector and scales what is left back to length one, whatever the model.
"""

from __future__ import annotations

import math

import msgspec

from penstock.errors import BrokenAnswer, EngineRefused
from penstock.protocols import refusal
from penstock.protocols.dialect import Clock, Timing
from penstock.protocols.ollama_openai import Vectors as Answer
from penstock.protocols.ollama_types import EmbedAnswer, EmbeddingsAnswer, said
from penstock.protocols.reading import Collecting, Noted
from penstock.types import Face, Usage

_answer = msgspec.json.Decoder(Answer)
_floats = msgspec.json.Decoder(list[float])
_encode = msgspec.json.Encoder().encode


class _Vectors(Collecting, Noted):
    """What both routes keep of an answer."""

    face = Face.OLLAMA

    content_type = "application/json; charset=utf-8"

    __slots__ = ("_parts",)

    def __init__(self, timing: Timing, clock: Clock) -> None:
        super().__init__(timing, clock)
        self._parts = []

    def _vectors(self, wanted: int) -> list[msgspec.Raw]:
        """As many vectors as texts, in the order of the texts."""
        data = self._body()
        try:
            answer = _answer.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            msg = f"Reading the engine's embeddings: they are not the JSON they should be ({error})."
            raise BrokenAnswer(msg) from None
        if said(answer.error):
            msg = f"The engine reported an error in its answer: {refusal.message_of(data)}"
            raise EngineRefused(msg)
        found = {vector.index: vector.embedding for vector in answer.data}
        if len(answer.data) != wanted or sorted(found) != list(range(wanted)):
            msg = f"Reading the engine's embeddings: {len(answer.data)} vectors for {wanted} texts."
            raise BrokenAnswer(msg)
        vectors = [found[at] for at in range(wanted)]
        for vector in vectors:
            _check(vector)
        self.model = answer.model
        if answer.usage is not None:
            self.usage = Usage(answer.usage.prompt_tokens or 0, 0)
        self._stamp()
        self.finished = True
        return vectors


class Vectors(_Vectors):
    """`/api/embed`."""

    __slots__ = ("_count", "_dimensions", "_name")

    def __init__(self, name: str, count: int, dimensions: int, timing: Timing, clock: Clock) -> None:
        super().__init__(timing, clock)
        self._name = name
        self._count = count
        self._dimensions = dimensions

    def close(self) -> bytes:
        """Every vector, and what it cost."""
        vectors = self._vectors(self._count)
        if self._dimensions > 0:
            vectors = [_cut(vector, self._dimensions) for vector in vectors]
        timing = self._timing
        return _encode(
            EmbedAnswer(
                model=self._name,
                embeddings=vectors,
                total_duration=max(self._clock() - timing.arrived, 1),
                load_duration=max((timing.sent or timing.arrived) - timing.arrived, 1),
                prompt_eval_count=self.usage.prompt_tokens if self.usage else None,
            )
        )


class Vector(_Vectors):
    """`/api/embeddings`."""

    __slots__ = ()

    def close(self) -> bytes:
        """The one vector."""
        return _encode(EmbeddingsAnswer(embedding=self._vectors(1)[0]))


def _check(vector: msgspec.Raw) -> list[float]:
    try:
        return _floats.decode(vector)
    except msgspec.DecodeError as error:
        msg = f"Reading the engine's embeddings: a vector is not a list of numbers ({error})."
        raise BrokenAnswer(msg) from None


def _cut(vector: msgspec.Raw, dimensions: int) -> msgspec.Raw:
    numbers = _check(vector)
    if dimensions >= len(numbers):
        return vector
    head = numbers[:dimensions]
    length = math.sqrt(math.fsum(number * number for number in head)) or 1.0
    return msgspec.Raw(_encode([number / length for number in head]))
