"""One event of a chat or completions stream, as far as going on with a broken one needs it, and how such an event is written.

Both shapes are read by one type and told in one way, because the rest of a chat may come from `/v1/completions`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import msgspec

from penstock.protocols.delivered import CONTENT
from penstock.protocols.ollama_types import NOTHING, said

CHAT = "chat.completion.chunk"
_IDS = re.compile(rb'"(prompt_token_ids|token_ids)":\s*\[[0-9,\s]*\]')
_encode = msgspec.json.Encoder().encode


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _Call(msgspec.Struct):
    index: int = 0
    id: str | None = None
    type: str | None = None
    function: _Function | None = None


class _Delta(msgspec.Struct):
    role: str | None = None
    content: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    refusal: str | None = None
    tool_calls: list[_Call] | None = None


class _Logprobs(msgspec.Struct):
    content: list[msgspec.Raw] | None = None
    tokens: list[msgspec.Raw] | None = None


class Choice(msgspec.Struct):
    """The one answer of an event."""

    index: int = 0
    delta: _Delta | None = None
    text: str | None = None
    logprobs: msgspec.Raw = NOTHING
    finish_reason: str | None = None
    stop_reason: msgspec.Raw = NOTHING
    token_ids: list[int] | None = None
    prompt_token_ids: msgspec.Raw = NOTHING

    def pieces(self) -> Iterator[tuple[str, str]]:
        """What it says, as (kind, text); kinds are told apart as a client tells them apart."""
        delta = self.delta
        if delta is None:
            if self.text:
                yield CONTENT, self.text
            return
        for kind in ("reasoning", "reasoning_content", CONTENT, "refusal"):
            text = getattr(delta, kind)
            if text:
                yield kind, text
        for call in delta.tool_calls or ():
            function = call.function or _Function()
            for part in ("name", "arguments"):
                text = getattr(function, part)
                if text:
                    yield f"call {call.index} {part}", text

    def call_ids(self) -> dict[int, str]:
        """The ids of calls that begin in it, by their places."""
        return {one.index: one.id for one in (self.delta.tool_calls if self.delta else None) or () if one.id}

    def entries(self) -> int:
        """Tokens with log probabilities."""
        if not said(self.logprobs):
            return 0
        found = msgspec.json.decode(self.logprobs, type=_Logprobs)
        return len(found.content or found.tokens or ())


class Counts(msgspec.Struct):
    """Usage of an answer."""

    prompt_tokens: int = 0
    total_tokens: int = 0
    completion_tokens: int = 0


class Event(msgspec.Struct):
    """One event."""

    id: str = ""
    object: str = ""
    created: int = 0
    model: str = ""
    choices: list[Choice] = []
    usage: Counts | None = None
    prompt_token_ids: msgspec.Raw = NOTHING
    error: msgspec.Raw = NOTHING


decode = msgspec.json.Decoder(Event).decode


class Head(msgspec.Struct, frozen=True):
    """What every event of one answer begins with."""

    id: str
    object: str
    created: int
    model: str


def only_ids(found: Event) -> bool:
    """Whether the event is there for its ids alone: vLLM sends one for each token that its parsers keep back."""
    if found.usage is not None or len(found.choices) != 1 or said(found.prompt_token_ids):
        return False
    choice = found.choices[0]
    delta = choice.delta
    return (
        delta is not None
        and delta.role is None
        and delta.content is None
        and not any(choice.pieces())
        and not said(choice.logprobs)
        and choice.finish_reason is None
        and bool(choice.token_ids)
    )


def without_ids(event: bytes) -> bytes:
    """The event as vLLM writes it for a client that asks for no token ids. A quoted key cannot stand inside a JSON string."""
    return _IDS.sub(rb'"\1":null', event)


def _delta(pieces: Sequence[tuple[str, str]], ids: dict[int, str]) -> dict[str, object]:
    delta: dict[str, object] = {}
    calls: dict[int, dict[str, object]] = {}
    for kind, text in pieces:
        if not kind.startswith("call "):
            delta[kind] = text
            continue
        _, index, part = kind.split(" ")
        place = int(index)
        call = calls.setdefault(place, {"index": place, "function": {}})
        function = call["function"]
        if isinstance(function, dict):
            function[part] = text
        if part == "name":
            call["function"] = {"name": text, "arguments": ""}
            if place in ids:
                call |= {"id": ids[place], "type": "function"}
    if calls:
        delta["tool_calls"] = list(calls.values())
    return delta


def written(
    head: Head, choice: Choice, pieces: Sequence[tuple[str, str]], *, ids: bool, usage: Counts | None = None
) -> bytes:
    """The event of an answer that says these pieces and ends as the choice does."""
    told: dict[str, object] = {"index": 0}
    if head.object == CHAT:
        told["delta"] = _delta(pieces, choice.call_ids()) or ({"content": ""} if choice.finish_reason else {})
    else:
        told["text"] = "".join(text for _, text in pieces)
    told["logprobs"] = choice.logprobs if said(choice.logprobs) else None
    told["finish_reason"] = choice.finish_reason
    if choice.finish_reason is not None:
        told["stop_reason"] = choice.stop_reason if said(choice.stop_reason) else None
    told["token_ids"] = choice.token_ids if ids else None
    return _event(head, [told], usage)


def written_usage(head: Head, usage: Counts) -> bytes:
    """The event that tells usage alone."""
    return _event(head, [], usage)


def _event(head: Head, choices: list[dict[str, object]], usage: Counts | None) -> bytes:
    told = {"id": head.id, "object": head.object, "created": head.created, "model": head.model, "choices": choices}
    if usage is not None:
        told["usage"] = usage
    return b"data: " + _encode(told) + b"\n\n"
