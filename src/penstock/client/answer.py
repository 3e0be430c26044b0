"""What came back: frozen values, the same for every engine. No I/O here."""

from __future__ import annotations

from typing import Any

import msgspec

from penstock.client.ask import ToolCall
from penstock.types import Kind, Usage


class Source(msgspec.Struct, frozen=True):
    """Who answered."""

    kind: Kind
    url: str
    model: str
    """The model that was asked for."""
    fallback: str = ""
    """Why it was not the first engine: a reason of docs/reference/headers.md; empty: it was."""
    backend: str = ""
    """The backend's name where a gateway says it."""
    gateway: bool = False
    dropped: tuple[str, ...] = ()
    """Options that this engine has no word for."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """A whole answer."""

    text: str
    source: Source
    thinking: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    finish: str = ""
    """`stop`, `length`, `tool_calls`, or the engine's own word."""
    usage: Usage | None = None
    body: bytes = b""
    """As the engine sent it."""

    @property
    def content(self) -> str:
        """The text, under the name that chat messages have for it."""
        return self.text

    @property
    def details(self) -> dict[str, Any]:
        """Everything the engine said, decoded when asked for."""
        return _object(self.body)


class Piece(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a streamed answer. The last one has `finish`; `usage` may come with it or after it."""

    source: Source
    text: str = ""
    thinking: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    """Whole calls: put together where an engine sends them in parts."""
    finish: str = ""
    usage: Usage | None = None
    body: bytes = b""

    @property
    def content(self) -> str:
        return self.text

    @property
    def details(self) -> dict[str, Any]:
        return _object(self.body)


def _object(body: bytes) -> dict[str, Any]:
    decoded = msgspec.json.decode(body) if body else {}
    return decoded if isinstance(decoded, dict) else {}
