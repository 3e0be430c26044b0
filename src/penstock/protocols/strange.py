"""What looks like an answer of the OpenAI family and is none: errors in shapes of their own, answers given up in the middle.

Engines, and the proxies in front of them, put errors where a piece of an answer belongs: with status 200, without a member
`error`, with an end behind them that looks like any other. Everything here is asked only of what is already odd: of an
event without choices, of an end, of a whole answer without what it is for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn, Protocol

import msgspec

from penstock.errors import BrokenAnswer, EngineRefused
from penstock.protocols import refusal
from penstock.types import Operation

GIVEN_UP = frozenset({"abort", "error"})
"""vLLM's finish reasons of an answer that it gave up in the middle."""
NOT_COMPLETED = frozenset({"cancelled", "failed", "in_progress", "queued"})
"""What the status of a response that is completed cannot be; vLLM tells an abort so."""


class _Choice(Protocol):
    finish_reason: str | None


class _Bare(msgspec.Struct):
    """Of something without choices, what tells an error from an event that merely says nothing."""

    choices: msgspec.Raw = msgspec.Raw()
    object: str | None = None
    type: str | None = None
    message: msgspec.Raw = msgspec.Raw()
    detail: msgspec.Raw = msgspec.Raw()
    error: msgspec.Raw = msgspec.Raw()


_bare = msgspec.json.Decoder(_Bare)


class _Failed(msgspec.Struct):
    error: msgspec.Raw = msgspec.Raw()


class _FailedResponse(msgspec.Struct):
    response: _Failed = msgspec.field(default_factory=_Failed)


class _Members(msgspec.Struct):
    """What the answers to the operations are for."""

    data: msgspec.Raw = msgspec.Raw()
    embeddings: msgspec.Raw = msgspec.Raw()
    output: msgspec.Raw = msgspec.Raw()
    content: msgspec.Raw = msgspec.Raw()
    status: str | None = None
    stop_reason: str | None = None


_members = msgspec.json.Decoder(_Members)
_NEEDED: dict[Operation, tuple[str, ...]] = {
    Operation.CHAT: ("choices",),
    Operation.COMPLETION: ("choices",),
    Operation.EMBEDDING: ("data", "embeddings"),
    Operation.RESPONSES: ("output",),
    Operation.MESSAGES: ("content",),
}


def check_finish(reason: str | None) -> None:
    """Raise where an engine's finish reason says that it gave the answer up."""
    if reason in GIVEN_UP:
        msg = f"The engine gave the answer up in the middle (finish_reason {reason!r})."
        raise BrokenAnswer(msg)


def check_choices(choices: Sequence[_Choice]) -> None:
    """The same of every choice of a whole answer."""
    for choice in choices:
        check_finish(choice.finish_reason)


def check_chunk(data: bytes) -> None:
    """Raise where an event of a chat stream without choices and usage is no chunk."""
    found = _decoded(data)
    if not bytes(found.choices) or _says_error(found):
        _refuse(found, data)


def check_typed(data: bytes) -> None:
    """Raise for an event without a type in a stream whose events have one, and for an error of theirs."""
    _refuse(_decoded(data), data)


def check_error(data: bytes) -> None:
    """Raise where an event that does not fit its stream is an error of some other shape."""
    try:
        found = _bare.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return
    if _says_error(found):
        _refuse(found, data)


def failure(data: bytes) -> str:
    """What `response.failed` says."""
    try:
        found = msgspec.json.decode(data, type=_FailedResponse).response
    except msgspec.DecodeError:
        return refusal.message_of(data)
    return refusal.message_of(msgspec.json.encode(found))


def check_whole(operation: Operation, body: bytes) -> None:
    """Raise where a whole answer without choices lacks what it is for, or says that it was given up."""
    needed = _NEEDED.get(operation)
    if needed is None or body[:1] == b"[":
        return
    try:
        found = _members.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        msg = f"Reading the engine's answer: it is not the JSON it should be ({error})."
        raise BrokenAnswer(msg) from None
    if not any(bytes(getattr(found, name, b"")) not in {b"", b"null"} for name in needed):
        if _says_error(bare := _decoded(body)):
            _refuse(bare, body)
        msg = f"Reading the engine's answer: it has no {' or '.join(needed)}."
        raise BrokenAnswer(msg)
    if operation is Operation.RESPONSES and found.status in {"cancelled", "failed"}:
        msg = f"The engine gave the answer up in the middle (its status is {found.status!r})."
        raise BrokenAnswer(msg)
    if operation is Operation.MESSAGES and found.stop_reason is None:
        msg = "The engine ended its answer without finishing it: no reason to stop was given."
        raise BrokenAnswer(msg)


def _decoded(data: bytes) -> _Bare:
    try:
        return _bare.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        msg = f"Reading the engine's stream: a malformed event ({error})."
        raise BrokenAnswer(msg) from None


def _says_error(found: _Bare) -> bool:
    """Whether it is an error in one of the shapes in use: vLLM's old one, FastAPI's, a proxy's."""
    told = (found.error, found.message, found.detail)
    return "error" in {found.object, found.type} or any(bytes(one) not in {b"", b"null"} for one in told)


def _refuse(found: _Bare, data: bytes) -> NoReturn:
    if _says_error(found):
        msg = f"The engine reported an error where its answer belongs: {refusal.message_of(data)}"
        raise EngineRefused(msg)
    msg = f"Reading the engine's stream: an event that is no part of an answer: {data[:60]!r}."
    raise BrokenAnswer(msg)
