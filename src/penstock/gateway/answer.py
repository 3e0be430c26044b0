"""What an engine's answer means for the line: whose fault an error is, and whether a head fits what was asked.

Pure functions of values; also the one place that writes a request head for an engine.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from functools import lru_cache

from penstock.errors import (
    BrokenAnswer,
    EngineFault,
    EngineRefused,
    EngineTimeout,
    NotLoaded,
    RateLimited,
    Unreachable,
)
from penstock.gateway.upstream import Origin
from penstock.protocols.dialect import Outgoing
from penstock.types import Operation, Wire

ERRORS = 400
ERROR_LIMIT = 256 * 1024
_FORWARDED = frozenset({b"tracestate", b"x-session-id", b"anthropic-version", b"anthropic-beta"})
OK = 200
PARTIAL = 206
PLAIN = frozenset({b"application/json", b"application/json; charset=utf-8"})
"""Exact content types of nearly every answer that is not streamed."""
_USUAL = (
    PLAIN,
    frozenset({b"text/event-stream; charset=utf-8", b"text/event-stream", b"application/x-ndjson"}),
)
"""The same, and those of streams."""
_STREAM_TYPES = {Wire.OPENAI: b"text/event-stream", Wire.OLLAMA: b"application/x-ndjson"}
_UNKNOWN_ANSWER = "Response with id"
"""How vLLM begins its 404 for a `previous_response_id` that it does not know: the caller's affair."""
_LENGTH_WORDS = ("context length", "context window", "context size", "context_length", "too many tokens")
_LOAD_WORDS = ("out of memory", "requires more system memory", "unable to load", "failed to load")


class MissingRoute(EngineFault):
    """This backend has no such route; another may."""

    status = 501
    code = "not_supported"
    reason = "no_route"


class Misfit(EngineFault):
    """Who stands in cannot take what the first target could have taken: no mistake of the caller, nor of this backend."""

    status = 503
    code = "unavailable"
    reason = "misfit"


class KeyRefused(EngineRefused):
    """It refuses the key that we send: ours to mend, and nothing is wrong with the engine."""


def fault_of(status: int, message: str, backend: str, retry_after: int | None) -> EngineFault | None:
    """The backend's fault behind an error status; None where the caller is to blame and shall read it."""
    said = f"it answered {status}: {message[:500]}"
    if status == 404 and not message.startswith(_UNKNOWN_ANSWER):
        return NotLoaded(said) if "model" in message.lower() else MissingRoute(said)
    if status in {405, 501}:
        return MissingRoute(said)
    if status == 429:
        return RateLimited(said, retry_after=retry_after)
    if status in {401, 403}:
        return KeyRefused(f"it refuses the key we send ({status})", hint=f"Check key_env of the backend {backend!r}.")
    if status == 408 or status >= 500:
        return EngineRefused(said, retry_after=retry_after)
    return None


def counts_against(fault: EngineFault) -> bool:
    """Whether the breaker hears of it: a busy engine, a missing model or a wrong key is not a broken one."""
    return isinstance(fault, Unreachable | EngineRefused | EngineTimeout | BrokenAnswer) and not isinstance(
        fault, KeyRefused
    )


def misfit(message: str, status: int) -> Misfit | None:
    """The fault of a stand-in whose refusal says that the request is too long for it; None for any other refusal."""
    lower = message.lower()
    return Misfit(f"it answered {status}: {message[:500]}") if any(words in lower for words in _LENGTH_WORDS) else None


def cannot_load(message: str) -> bool:
    """Whether an engine's error says that the model does not fit or cannot be read (X14)."""
    lower = message.lower()
    return any(words in lower for words in _LOAD_WORDS)


def unfit(
    status: int, headers: Mapping[bytes, bytes], *, stream: bool, wire: Wire, operation: Operation
) -> EngineFault | None:
    """Why the head of a non-error answer cannot be one to what we asked."""
    if status == OK and headers.get(b"content-type") in _USUAL[stream] and b"content-encoding" not in headers:
        return None
    if status >= 300 or status == PARTIAL:
        what = "a part" if status == PARTIAL else "a redirect"
        return BrokenAnswer(f"it answered {status}, {what}, to an API request")
    if coded(headers):
        return BrokenAnswer("it compressed an answer that was not to be compressed")
    kind = headers.get(b"content-type", b"").lower()
    if operation in {Operation.TRANSCRIPTION, Operation.TRANSLATION, Operation.SPEECH}:
        return _unfit_sound(headers, kind)
    expected = _STREAM_TYPES[wire] if stream else b"application/json"
    if kind.startswith((expected, b"text/event-stream" if stream else expected)):
        return None
    shown = kind.decode("latin-1") or "no content type"
    return BrokenAnswer(f"it answered {status} with {shown} where {expected.decode()} belongs")


def _unfit_sound(headers: Mapping[bytes, bytes], kind: bytes) -> EngineFault | None:
    """Sound and transcripts end with their framing alone, so they must have one that tells a whole from a part."""
    if kind.startswith(b"text/html"):
        return BrokenAnswer("it answered 200 with an HTML page")
    if b"content-length" not in headers and headers.get(b"transfer-encoding", b"").lower() != b"chunked":
        return BrokenAnswer("it answered without saying how its answer ends: nobody could tell whether it is whole")
    return None


def coded(headers: Mapping[bytes, bytes]) -> bool:
    """Whether a body is compressed, which nobody asked for: an error's words cannot be read then."""
    return headers.get(b"content-encoding", b"identity") != b"identity"


def retry_after(value: bytes | None) -> int | None:
    """Seconds of a Retry-After header, which may be a number or an HTTP date."""
    if value is None:
        return None
    text = value.decode("latin-1").strip()
    try:
        if text.isdecimal():
            return min(int(text), 3600)
        return max(0, min(int(parsedate_to_datetime(text).timestamp() - time.time()) + 1, 3600))
    except (ValueError, TypeError, OverflowError):
        return None


def request(
    origin: Origin, key: bytes, outgoing: Outgoing, request_id: bytes, headers: Mapping[bytes, bytes], trace: bytes
) -> bytes:
    """A request to an engine as it goes out; of the client's headers only those that engines know go along."""
    body = outgoing.body
    parts = [
        origin.post_line(outgoing.path), key, content_type_line(outgoing.content_type),
        b"content-length: %d\r\nx-request-id: " % len(body), request_id,
    ]  # fmt: skip
    if trace:
        parts += [b"\r\ntraceparent: ", trace]
    if not _FORWARDED.isdisjoint(headers):
        for name in sorted(_FORWARDED.intersection(headers)):
            parts += [b"\r\n", name, b": ", headers[name]]
    parts += (b"\r\n\r\n", body)
    return b"".join(parts)


@lru_cache(maxsize=64)
def content_type_line(content_type: str) -> bytes:
    """The header line; the few types there are, are encoded once."""
    return b"content-type: " + content_type.encode("latin-1") + b"\r\n"
