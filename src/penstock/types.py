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


class KeyLimits(msgspec.Struct, frozen=True):
    """What a caller may use; a part that is None has no limit."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrent: int | None = None
    """Requests in flight at once."""
    tokens_per_day: int | None = None
    tokens_per_month: int | None = None


class Caller(msgspec.Struct, frozen=True):
    """Who asks. Without configured callers everybody on the loopback address is `LOCAL`."""

    name: str
    tenant: str
    scopes: frozenset[str] = frozenset()
    key_id: str = ""
    """The public name of the key it came with: never the secret. Empty for callers that have none."""
    limits: KeyLimits | None = None
    extras: frozenset[str] = frozenset()
    """Request fields beyond the protocols' own that it may send; `*` is all of them."""
    forwards_users: bool = False
    """Whether the user names that it forwards in headers are believed."""
    free: bool = False
    """Nothing that it asks needs a look: every alias, every route, every field."""
    until: float = float("inf")
    """Wall time at which what it showed ceases to be valid."""


LOCAL = Caller(name="local", tenant="local", scopes=frozenset({"*"}), extras=frozenset({"*"}), free=True)
