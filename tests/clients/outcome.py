"""What a client library showed its user: an answer or a refusal, in one form for all libraries. Values only.

A field is None where this client hides it; `shows` in expected.yaml says what each client must show.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One question to one model."""

    model: str
    text: str
    limit: int = 64
    temperature: Any = 0
    """Anything, so that the wrong type can be sent too."""
    extra: Json = field(default_factory=dict)
    """More of OpenAI's parameters, for a forced call."""


@dataclass(frozen=True, slots=True)
class ToolUse:
    """A call as the client's user gets it: arguments are an object."""

    name: str
    arguments: Json
    id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """An answer."""

    text: str = ""
    pieces: int = 0
    """How many pieces of text a stream came in."""
    calls: tuple[ToolUse, ...] = ()
    vectors: tuple[tuple[float, ...], ...] = ()
    parsed: Json | None = None
    """The object that a client made of a JSON answer by itself."""
    model: str | None = None
    finish: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    durations: dict[str, int] | None = None
    """Ollama's, in nanoseconds, by their names in the protocol."""
    id: str | None = None
    backend: str | None = None
    """The header x-penstock-backend."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """An error, as the client's exception tells it."""

    status: int
    message: str
    error: str
    """The exception's class; of curl `error`, the member of the answer."""
