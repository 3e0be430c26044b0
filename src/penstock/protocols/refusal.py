"""Errors in the words of each protocol: one function for a whole answer, one for the end of a begun stream.

Only shapes live here; what the message says is decided where the error is raised.
"""

from __future__ import annotations

import msgspec

from penstock.errors import PenstockError
from penstock.types import Face, Wire

_OPENAI_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "timeout_error",
    413: "invalid_request_error",
    415: "invalid_request_error",
    422: "invalid_request_error",
    429: "rate_limit_error",
    431: "invalid_request_error",
    501: "not_supported_error",
    503: "overloaded_error",
}
_ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    413: "request_too_large",
    415: "invalid_request_error",
    422: "invalid_request_error",
    429: "rate_limit_error",
    431: "invalid_request_error",
    501: "invalid_request_error",
    503: "overloaded_error",
}

_encode = msgspec.json.Encoder().encode


class _OpenAIDetail(msgspec.Struct):
    message: str
    type: str
    param: str | None
    code: str | None


class _OpenAI(msgspec.Struct):
    error: _OpenAIDetail


class _AnthropicDetail(msgspec.Struct):
    type: str
    message: str


class _Anthropic(msgspec.Struct):
    error: _AnthropicDetail
    type: str = "error"


class _Ollama(msgspec.Struct):
    error: str


def body(face: Face, error: PenstockError) -> bytes:
    """The whole answer that refuses a request."""
    return _render(face, error.status, error.sentence(), error.code, error.param)


def stream_error(face: Face, error: PenstockError) -> bytes:
    """The explicit error that ends a begun stream; nothing may follow it."""
    data = body(face, error)
    if face is Face.OLLAMA:
        return data + b"\n"
    if face is Face.ANTHROPIC:
        return b"event: error\ndata: " + data + b"\n\n"
    return b"data: " + data + b"\n\n"


def translated(face: Face, wire: Wire, status: int, answer: bytes) -> bytes:
    """An engine's own error answer in the client's protocol; untouched where it already is."""
    if wire is Wire.OPENAI and face is not Face.OLLAMA and is_json(answer):
        return answer
    if wire is Wire.OLLAMA and face is Face.OLLAMA and is_json(answer):
        return answer
    return _render(face, status, message_of(answer), None, None)


class _AnyError(msgspec.Struct):
    # not `Raw | None`: in a union msgspec takes Raw for no type at all
    error: msgspec.Raw = msgspec.Raw()
    message: str | None = None
    detail: msgspec.Raw = msgspec.Raw()


class _Message(msgspec.Struct):
    message: str


def message_of(answer: bytes) -> str:
    """What an engine's error answer says, whichever of the usual shapes it has."""
    try:
        found = msgspec.json.decode(answer, type=_AnyError)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return answer[:300].decode("utf-8", "replace").strip() or "the engine gave no reason"
    for raw in (found.error, found.detail):
        if bytes(raw) in {b"", b"null"}:
            continue
        return _said(raw)
    return found.message or "the engine gave no reason"


def _said(raw: msgspec.Raw) -> str:
    # What was skipped as Raw is known to be JSON, but not to be UTF-8 or to have whole surrogate pairs.
    try:
        return msgspec.json.decode(raw, type=_Message).message
    except (msgspec.DecodeError, UnicodeDecodeError):
        pass
    try:
        return msgspec.json.decode(raw, type=str)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return bytes(raw)[:300].decode("utf-8", "replace")


def is_json(answer: bytes) -> bool:
    """Whether a body is a whole object of JSON in UTF-8."""
    try:
        answer.decode()
        msgspec.json.decode(answer, type=_AnyError)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True


def _render(face: Face, status: int, message: str, code: str | None, param: str | None) -> bytes:
    if face is Face.OLLAMA:
        return _encode(_Ollama(message))
    if face is Face.ANTHROPIC:
        return _encode(_Anthropic(_AnthropicDetail(_ANTHROPIC_TYPES.get(status, "api_error"), message)))
    kind = _OPENAI_TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return _encode(_OpenAI(_OpenAIDetail(message, kind, param, code)))
