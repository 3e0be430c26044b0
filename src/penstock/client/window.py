"""Which turns of a conversation fit into the engine's window, counted by the engine's own tokenizer (S0.11, H4).

vLLM counts: `/tokenize` applies the model's chat template and says how large the window is. Ollama, OpenAI and llama.cpp's
server have no such route; there the caller brings a function that counts, or gets an error that says so. Never a guess.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from penstock.client.ask import Ask, Message
from penstock.client.codec import Outgoing, encoded
from penstock.client.io import Io, Limits
from penstock.client.openai_codec import turns
from penstock.client.place import Place
from penstock.errors import BadRequest, BrokenAnswer, PenstockError, Unsupported
from penstock.types import Kind

_ABSENT = frozenset({404, 405, 501})


class Room(NamedTuple):
    """What a conversation takes, and what there is."""

    tokens: int
    """With the chat template around it."""
    window: int
    """Prompt and answer together."""


class _Counted(msgspec.Struct):
    count: int
    max_model_len: int


_COUNTED = msgspec.json.Decoder(_Counted)


async def measured(io: Io, place: Place, ask: Ask, limits: Limits) -> Room:
    """What the engine counts. Unsupported where it cannot."""
    if place.kind is not Kind.VLLM:
        raise _uncounted(place, "it has no route for that")
    body = {"model": ask.model or place.model, "messages": turns(ask)}
    if ask.tools:
        body["tools"] = ask.tools
    reply = await io.send(place.post(Outgoing("/tokenize", encoded(body))), limits)
    place.source(reply.headers, place.model, (), "")
    if reply.status in _ABSENT:
        error = place.judge(reply, place.model)
        raise _uncounted(place, str(error)) if not _wrong_model(error) else error
    if reply.status != 200:
        raise place.judge(reply, place.model)
    try:
        counted = _COUNTED.decode(reply.body)
    except msgspec.DecodeError as wrong:
        raise BrokenAnswer(f"the count of tokens cannot be read: {wrong}") from None
    return Room(counted.count, counted.max_model_len)


def exchanges(messages: Sequence[Message]) -> list[list[int]]:
    """The turns that may go, oldest first, as indices: each a question with all that answered it.

    What the system says, the last question and everything after it stay. A tool's result never stays without its call.
    """
    asked = [index for index, one in enumerate(messages) if one.role == "user"]
    last = asked[-1] if asked else len(messages) - 1
    units: list[list[int]] = []
    for index in range(last):
        role = messages[index].role
        if role in {"system", "developer"}:
            continue
        if role == "user" or not units:
            units.append([])
        units[-1].append(index)
    return units


def kept(messages: Sequence[Message], dropped: int) -> list[int]:
    """The indices that remain when so many of the oldest exchanges go."""
    gone = {index for unit in exchanges(messages)[:dropped] for index in unit}
    return [index for index in range(len(messages)) if index not in gone]


def too_long(room: Room, reserve: int) -> BadRequest:
    return BadRequest(
        f"The conversation does not fit: what must stay of it takes {room.tokens} tokens, {reserve} are reserved for the "
        f"answer, and the window has {room.window}.",
        hint=f"Shorten the last question by {room.tokens + reserve - room.window} tokens, or reserve fewer.",
    )


def _wrong_model(error: PenstockError) -> bool:
    return error.code == "model_not_found"


def _uncounted(place: Place, why: str) -> Unsupported:
    return Unsupported(
        f"{place.label} at {place.url} cannot count the tokens of a conversation: {why}.",
        hint="Give fit() a function of your own: count=lambda messages: …, and window=….",
    )
