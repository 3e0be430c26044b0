"""What an answer says: text, calls, vectors and its end, out of the bytes that a client got. For comparing answers.

Bytes in, one frozen value out; streamed or whole, either face, the same answer gives the same value. What a model thinks
aloud before it answers (`reasoning`, `thinking`) is left out: no client shows it as the answer. Several choices stand below
each other in their order.
"""

from __future__ import annotations

import base64
import binascii
from array import array
from collections.abc import Callable, Iterable

import msgspec

from penstock.errors import BrokenAnswer
from penstock.protocols import heard_messages, ndjson, sse

_DONE = b"[DONE]"


class Heard(msgspec.Struct, frozen=True):
    """One answer."""

    text: str = ""
    refusal: str = ""
    calls: tuple[tuple[str, str], ...] = ()
    """Name and arguments, JSON text, of every tool the model wants called."""
    vectors: tuple[tuple[float, ...], ...] = ()
    finish: str = ""


def hear(path: str, body: bytes, *, stream: bool) -> Heard:
    """What an answer on one of `PATHS` says; `BrokenAnswer` where it is none."""
    try:
        return PATHS[path](body, stream)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, binascii.Error, ValueError) as error:
        msg = f"Reading an answer of {path} to compare it: {error}."
        raise BrokenAnswer(msg) from None


# ---- OpenAI


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _Call(msgspec.Struct):
    index: int | None = None
    function: _Function | None = None


class _Part(msgspec.Struct):
    text: str | None = None


class _Said(msgspec.Struct):
    content: str | list[_Part] | None = None
    refusal: str | None = None
    tool_calls: list[_Call] | None = None


class _Choice(msgspec.Struct):
    index: int = 0
    message: _Said | None = None
    delta: _Said | None = None
    text: str | None = None
    finish_reason: str | None = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] = []


class _Voice:
    """One choice, put together from its pieces."""

    def __init__(self) -> None:
        self.text: list[str] = []
        self.refusal: list[str] = []
        self.calls: dict[int, tuple[list[str], list[str]]] = {}
        self.finish = ""

    def take(self, choice: _Choice) -> None:
        self.text.append(choice.text or "")
        self.finish = choice.finish_reason or self.finish
        for said in (choice.message, choice.delta):
            if said is not None:
                self._take(said)

    def _take(self, said: _Said) -> None:
        parts = said.content if isinstance(said.content, list) else [_Part(said.content)]
        self.text += [part.text or "" for part in parts]
        self.refusal.append(said.refusal or "")
        for place, call in enumerate(said.tool_calls or ()):
            name, arguments = self.calls.setdefault(place if call.index is None else call.index, ([], []))
            if call.function is not None:
                name.append(call.function.name or "")
                arguments.append(call.function.arguments or "")


_chunk = msgspec.json.Decoder(_Chunk)


def _openai(body: bytes, stream: bool) -> Heard:  # noqa: FBT001 - one form for all of PATHS
    voices: dict[int, _Voice] = {}
    for piece in _events(body) if stream else (body,):
        for choice in _chunk.decode(piece).choices:
            voices.setdefault(choice.index, _Voice()).take(choice)
    ordered = [voices[index] for index in sorted(voices)]
    return Heard(
        text="\n".join("".join(voice.text) for voice in ordered),
        refusal="\n".join(filter(None, ("".join(voice.refusal) for voice in ordered))),
        calls=tuple(
            ("".join(name), "".join(arguments))
            for voice in ordered
            for _, (name, arguments) in sorted(voice.calls.items())
        ),
        finish=ordered[0].finish if ordered else "",
    )


def _events(body: bytes) -> Iterable[bytes]:
    for event in sse.Splitter().feed(body):
        data = sse.payload(event)
        if data is not None and data != _DONE:
            yield data


class _Vector(msgspec.Struct):
    index: int = 0
    embedding: list[float] | str = []


class _Vectors(msgspec.Struct):
    data: list[_Vector] = []


_vectors = msgspec.json.Decoder(_Vectors)


def _openai_vectors(body: bytes, stream: bool) -> Heard:  # noqa: FBT001 - one form for all of PATHS
    del stream
    found = sorted(_vectors.decode(body).data, key=lambda one: one.index)
    return Heard(vectors=tuple(_floats(one.embedding) for one in found))


def _floats(given: list[float] | str) -> tuple[float, ...]:
    """Numbers, or `encoding_format: base64`: four bytes each, lowest first."""
    if isinstance(given, list):
        return tuple(given)
    found = array("f", base64.b64decode(given, validate=True))
    if array("H", [1]).tobytes() != b"\x01\x00":
        found.byteswap()
    return tuple(found)


def _messages(body: bytes, stream: bool) -> Heard:  # noqa: FBT001 - one form for all of PATHS
    said = heard_messages.streamed(_events(body)) if stream else heard_messages.whole(body)
    return Heard(text="".join(said.text), calls=tuple(said.calls), finish=said.finish)


# ---- Ollama


class _Called(msgspec.Struct):
    name: str = ""
    arguments: msgspec.Raw = msgspec.Raw(b"{}")


class _OllamaCall(msgspec.Struct):
    function: _Called = msgspec.field(default_factory=_Called)


class _Turn(msgspec.Struct):
    content: str | None = None
    tool_calls: list[_OllamaCall] | None = None


class _Line(msgspec.Struct):
    message: _Turn | None = None
    response: str | None = None
    done_reason: str | None = None
    embeddings: list[list[float]] | None = None
    embedding: list[float] | None = None


_line = msgspec.json.Decoder(_Line)


def _ollama(body: bytes, stream: bool) -> Heard:  # noqa: FBT001 - one form for all of PATHS
    text: list[str] = []
    calls: list[tuple[str, str]] = []
    vectors: list[tuple[float, ...]] = []
    finish = ""
    for line in map(_line.decode, _lines(body) if stream else (body,)):
        text.append(line.response or "")
        finish = line.done_reason or finish
        if line.message is not None:
            text.append(line.message.content or "")
            made = [one.function for one in line.message.tool_calls or ()]
            calls += [(one.name, bytes(one.arguments).decode()) for one in made]
        vectors += [tuple(one) for one in line.embeddings or ()]
        if line.embedding is not None:
            vectors.append(tuple(line.embedding))
    return Heard(text="".join(text), calls=tuple(calls), vectors=tuple(vectors), finish=finish)


def _lines(body: bytes) -> list[bytes]:
    splitter = ndjson.Splitter()
    lines = splitter.feed(body)
    rest = splitter.rest()
    return [*lines, rest] if rest else lines


PATHS: dict[str, Callable[[bytes, bool], Heard]] = {
    "/v1/chat/completions": _openai,
    "/v1/completions": _openai,
    "/v1/embeddings": _openai_vectors,
    "/v1/messages": _messages,
    "/api/chat": _ollama,
    "/api/generate": _ollama,
    "/api/embed": _ollama,
    "/api/embeddings": _ollama,
}
"""Routes whose answers can be compared."""
