"""Tool calls put together from OpenAI's pieces: Ollama shows a call whole or not at all."""

from __future__ import annotations

import msgspec

from penstock.errors import BrokenAnswer
from penstock.protocols.ollama_openai import CallPiece
from penstock.protocols.ollama_types import Function, ToolCall


class Assembly:
    """Collects pieces in order; a call is whole once the next one begins or the answer ends."""

    __slots__ = ("_arguments", "_id", "_index", "_made", "_name", "_open")

    def __init__(self) -> None:
        self._made = 0
        self._open = False
        self._index: int | None = None
        self._id: str | None = None
        self._name = ""
        self._arguments: list[str] = []

    def add(self, pieces: list[CallPiece]) -> list[ToolCall]:
        """Take the pieces of one event; the calls that are whole now."""
        done = []
        for piece in pieces:
            if self._begins(piece):
                done += self.end()
                self._open, self._index = True, piece.index
            if piece.id:
                self._id = piece.id
            if piece.function is not None:
                self._name += piece.function.name or ""
                self._arguments.append(piece.function.arguments or "")
        return done

    def _begins(self, piece: CallPiece) -> bool:
        if not self._open:
            return True
        if piece.index is not None or self._index is not None:
            return piece.index != self._index
        # Engines that number nothing begin a call by naming it.
        return piece.function is not None and bool(piece.function.name)

    def end(self, *, cut: bool = False) -> list[ToolCall]:
        """The last call; when the answer was `cut` at its token limit, a call that is not whole is left out."""
        if not self._open:
            return []
        text = "".join(self._arguments).strip() or "{}"
        index, name, call_id = self._made, self._name, self._id
        self._open, self._id, self._name, self._arguments = False, None, "", []
        try:
            # The only check Ollama's clients rely on: an object. Compact, because a line may hold no line break.
            msgspec.json.decode(text, type=dict[str, msgspec.Raw])
            arguments = msgspec.Raw(msgspec.json.format(text.encode(), indent=-1))
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            if cut:
                return []
            msg = f"Reading the engine's answer: the arguments of its call of {name!r} are not a JSON object ({error})."
            raise BrokenAnswer(msg) from None
        self._made += 1
        return [ToolCall(id=call_id, function=Function(index=index, name=name, arguments=arguments))]
