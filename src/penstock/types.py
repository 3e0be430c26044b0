"""The nouns every part of Penstock shares: frozen values without I/O.

Nothing here may import another penstock module, open a socket or read a clock.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Kind(StrEnum):
    """What sort of engine a backend is."""

    VLLM = "vllm"
    OLLAMA = "ollama"
    OPENAI = "openai"
    EMBEDDED = "embedded"

    @property
    def wire(self) -> Wire:
        """The protocol this kind of backend is asked in."""
        return Wire.OLLAMA if self is Kind.OLLAMA else Wire.OPENAI

    @property
    def label(self) -> str:
        """The engine's own spelling of its name, for log lines people read."""
        return _LABELS[self]


_LABELS = {Kind.VLLM: "vLLM", Kind.OLLAMA: "Ollama", Kind.OPENAI: "OpenAI", Kind.EMBEDDED: "Embedded engine"}


class Wire(StrEnum):
    """The protocol spoken to a backend."""

    OPENAI = "openai"
    OLLAMA = "ollama"


class Face(StrEnum):
    """The protocol a client speaks to us; it decides the shape of every answer and error."""

    OPENAI = "openai"
    ANTHROPIC = "anthropic"
    OLLAMA = "ollama"


class Operation(StrEnum):
    """What is asked of a model, whatever protocol asks it."""

    CHAT = "chat"
    COMPLETION = "completion"
    EMBEDDING = "embedding"
    RESPONSES = "responses"
    MESSAGES = "messages"
    COUNT_TOKENS = "count_tokens"
    TOKENIZE = "tokenize"
    DETOKENIZE = "detokenize"
    SCORE = "score"
    RERANK = "rerank"
    TRANSCRIPTION = "transcription"
    TRANSLATION = "translation"
    SPEECH = "speech"

    @property
    def pinned(self) -> bool:
        """Whether another model's answer would be silently wrong (X13): vectors and ids of two models don't mix."""
        return self in _PINNED


_PINNED = frozenset({Operation.EMBEDDING, Operation.SCORE, Operation.RERANK, Operation.TOKENIZE, Operation.DETOKENIZE})


class Usage(msgspec.Struct, frozen=True, gc=False):
    """Tokens as the engine itself counted them."""

    prompt_tokens: int = 0
    completion_tokens: int = 0


class Caller(msgspec.Struct, frozen=True):
    """Who asks. Without configured callers everybody on the loopback address is `LOCAL`."""

    name: str
    tenant: str
    scopes: frozenset[str] = frozenset()


LOCAL = Caller(name="local", tenant="local", scopes=frozenset({"*"}))
