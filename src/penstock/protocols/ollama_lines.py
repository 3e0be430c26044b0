"""Ollama's answers, line by line or whole: how they are cut and checked, whoever is told of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Protocol, TypeVar

import msgspec

from penstock.errors import BrokenAnswer, EngineRefused
from penstock.protocols import refusal
from penstock.protocols.ndjson import Splitter
from penstock.protocols.ollama_types import said
from penstock.protocols.passage import passed


class _Failing(Protocol):
    error: msgspec.Raw


T = TypeVar("T", bound=_Failing)


def read(decoder: msgspec.json.Decoder[T], data: bytes, what: str = "answer") -> T:
    """One object of an answer; what is no JSON or says `error` is the engine's fault."""
    try:
        found = decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        msg = f"Reading Ollama's {what}: not the JSON it should be ({error})."
        raise BrokenAnswer(msg) from None
    if said(found.error):
        msg = f"Ollama reported an error in its answer: {refusal.message_of(data)}"
        raise EngineRefused(msg)
    return found


def undone() -> BrokenAnswer:
    """A whole answer without `done`."""
    return BrokenAnswer("Reading Ollama's answer: it does not say that it is done.")


class LineByLine(ABC):
    """A reader that takes a stream; `_splitter` and `finished` are its own."""

    __slots__ = ()

    finished: bool
    _splitter: Splitter

    def feed(self, data: bytes) -> bytes:
        """What these bytes complete."""
        return passed(self._splitter.feed(data), self._line)

    def close(self) -> bytes:
        """The last line may lack its end; an answer that does not say it is done is broken."""
        rest = self._splitter.rest()
        last = self._line(rest) if rest else b""
        if not self.finished:
            msg = "Ollama ended its stream without finishing the answer."
            raise BrokenAnswer(msg)
        return last

    @abstractmethod
    def _line(self, data: bytes) -> bytes:
        """What goes on to the client of one line; nothing of those after the last."""
