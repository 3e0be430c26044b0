"""A streamed answer as it comes in, piece by piece, in LangChain's chunks.

Every stream ends in one chunk without text that tells all about it, as Ollama's do.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from langchain_core.messages import AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk, GenerationChunk

from penstock.client.answer import Piece
from penstock.client.langchain.told import Clock, Ending, logprobs, tool_call_chunks
from penstock.errors import BrokenAnswer


class Speech:
    """The answer so far."""

    def __init__(self, *, thinking: bool, logprobs: bool) -> None:
        self._clock = Clock()
        self._thinking = thinking
        self._logprobs = logprobs
        self._ending: Ending | None = None
        self._calls = 0

    def text(self, piece: Piece) -> GenerationChunk | None:
        """What this piece adds for a prompt; None for one that only tells about the answer."""
        self._add(piece)
        info = self._info(piece)
        if piece.thinking and self._thinking:
            info["reasoning_content"] = piece.thinking
        if not piece.text and not info:
            return None
        return GenerationChunk(text=piece.text, generation_info=info or None)

    def message(self, piece: Piece) -> ChatGenerationChunk | None:
        """The same for messages."""
        self._add(piece)
        info = self._info(piece)
        thinking = piece.thinking if self._thinking else ""
        if not (piece.text or thinking or piece.tool_calls or info):
            return None
        chunks = tool_call_chunks(piece.tool_calls, self._calls) if piece.tool_calls else []
        self._calls += len(chunks)
        message = AIMessageChunk(
            content=piece.text,
            additional_kwargs={"reasoning_content": thinking} if thinking else {},
            tool_call_chunks=chunks,
        )
        return ChatGenerationChunk(message=message, generation_info=info or None)

    def last_text(self) -> GenerationChunk:
        return GenerationChunk(text="", generation_info=self._ended().info(self._clock))

    def last_message(self) -> ChatGenerationChunk:
        ending = self._ended()
        message = AIMessageChunk(content="", usage_metadata=ending.usage_metadata(), chunk_position="last")
        return ChatGenerationChunk(message=message, generation_info=ending.info(self._clock))

    def _add(self, piece: Piece) -> None:
        self._clock.heard()
        if self._ending is None:
            self._ending = Ending(piece.source)
        self._ending.add(piece)

    def _info(self, piece: Piece) -> dict[str, Any]:
        found = logprobs(piece.source, piece.body) if self._logprobs else None
        return {} if found is None else {"logprobs": found}

    def _ended(self) -> Ending:
        if self._ending is None:
            raise BrokenAnswer("The stream ended without a piece.")
        return self._ending


def joined(chunks: Iterable[GenerationChunk]) -> GenerationChunk:
    """The chunks of a prompt's stream as one, with the thoughts under the name that Ollama's own class gives them."""
    parts = list(chunks)
    info = {name: value for part in parts for name, value in (part.generation_info or {}).items()}
    thoughts = [(part.generation_info or {}).get("reasoning_content", "") for part in parts]
    if any(thoughts):
        info["thinking"] = "".join(thoughts)
        del info["reasoning_content"]
    found = [one for part in parts for one in (part.generation_info or {}).get("logprobs", ())]
    if found:
        info["logprobs"] = found
    return GenerationChunk(text="".join(part.text for part in parts), generation_info=info)


@contextmanager
def left(pieces: Iterator[Piece]) -> Iterator[Iterator[Piece]]:
    """The pieces, whose stream ends when the reader leaves it: then the engine stops too."""
    try:
        yield pieces
    finally:
        if isinstance(pieces, Generator):
            pieces.close()
