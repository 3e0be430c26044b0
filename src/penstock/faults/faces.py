"""The protocols and routes in which a client may ask for the same words. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from penstock.faults.site import WORDS, Site

_LIMIT = 64
"""Tokens asked for where a limit must be named or is small by itself."""


@dataclass(frozen=True, slots=True)
class Face:
    """One route."""

    name: str
    path: str
    protocol: str
    """openai (server-sent events) or ollama (lines)."""
    body: Mapping[str, Any] = field(default_factory=dict)
    """What differs from a chat request."""
    native: bool = True
    """Whether a gateway in front of Ollama translates it; Ollama serves the others itself."""

    @property
    def route(self) -> dict[str, Any]:
        """The arguments of `Site.ask`."""
        return {"face": self.protocol, "path": self.path, "body": self.body}


CHAT = Face("chat", "/v1/chat/completions", "openai")
FACES = (
    CHAT,
    Face("completions", "/v1/completions", "openai", {"messages": None, "prompt": WORDS, "max_tokens": _LIMIT}),
    Face("responses", "/v1/responses", "openai", {"messages": None, "input": WORDS, "store": False}, native=False),
    Face("messages", "/v1/messages", "openai", {"max_tokens": _LIMIT}, native=False),
    Face("ollama-chat", "/api/chat", "ollama"),
    Face("ollama-generate", "/api/generate", "ollama", {"messages": None, "prompt": WORDS}),
)


def faces(site: Site) -> tuple[Face, ...]:
    """All that the gateway under test promises; of other gateways only chat is known to be there."""
    return FACES if site.ours else (CHAT,)
