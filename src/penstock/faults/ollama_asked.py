"""Ollama's requests as the double reads them, refused in the words of Ollama's Go server. Pure."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from penstock.faults.asked import Asked, Body, last_user
from penstock.faults.refused import Refused

_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
_DURATION = re.compile(r"-?(?:\d+(?:\.\d+)?(?:h|ms|m|s|us|ns))+|0")
_PART = re.compile(r"(\d+(?:\.\d+)?)(h|ms|m|s|us|ns)")
_FIELDS: dict[str, tuple[tuple[type, ...], str]] = {
    "model": ((str,), "string"),
    "prompt": ((str,), "string"),
    "suffix": ((str,), "string"),
    "system": ((str,), "string"),
    "messages": ((list,), "[]api.Message"),
    "stream": ((bool,), "bool"),
    "raw": ((bool,), "bool"),
    "options": ((dict,), "map[string]interface {}"),
    "tools": ((list,), "api.Tools"),
    "images": ((list,), "[]api.ImageData"),
    "logprobs": ((bool,), "bool"),
    "top_logprobs": ((int,), "int"),
    "truncate": ((bool,), "bool"),
    "dimensions": ((int,), "int"),
}
_GO = {str: "string", bool: "bool", int: "number", float: "number", list: "array", dict: "object"}
_FLOATS = frozenset(
    {"temperature", "top_p", "min_p", "typical_p", "repeat_penalty", "presence_penalty", "frequency_penalty"}
)
_INTS = frozenset(
    {"num_predict", "num_ctx", "num_keep", "seed", "top_k", "repeat_last_n", "num_batch", "num_gpu", "num_thread"}
)


class GoError(Refused):
    """`{"error": …}` with a status."""

    def body(self, path: str) -> bytes:
        del path
        return msgspec.json.encode({"error": self.message})


def decode(raw: bytes, kind: str) -> Body:
    """The body of a request; `kind` is the Go struct's name for its error messages."""
    if not raw:
        raise GoError(400, "missing request body")
    try:
        body = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise GoError(400, f"invalid character: {error}") from error
    if not isinstance(body, dict):
        raise GoError(400, f"json: cannot unmarshal {_GO[type(body)]} into Go value of type api.{kind}")
    for field, (types, name) in _FIELDS.items():
        value = body.get(field)
        if value is not None and (not isinstance(value, types) or (isinstance(value, bool) and bool not in types)):
            words = f"json: cannot unmarshal {_GO[type(value)]} into Go struct field {kind}.{field} of type {name}"
            raise GoError(400, words)
    if not (body.get("model") or body.get("name")):
        raise GoError(400, "model is required")
    _check_options(body.get("options") or {})
    for image in _images(body):
        _check_image(image)
    return body


def keep_alive(body: Body) -> float:
    """Seconds, negative for ever; five minutes where nothing is said."""
    value = body.get("keep_alive")
    if value is None:
        return 300.0
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, str) and _DURATION.fullmatch(value):
        seconds = sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(value))
        return -seconds if value.startswith("-") else seconds
    if isinstance(value, str):
        raise GoError(400, f'time: invalid duration "{value}"')
    raise GoError(400, f"Unsupported type: '{type(value).__name__}'")


def chat(body: Body) -> Asked:
    messages = body.get("messages") or []
    options = body.get("options") or {}
    return Asked(
        model=str(body["model"]),
        stream=body.get("stream", True) is not False,
        prompt="\n".join(f"{turn.get('role')}: {turn.get('content', '')}" for turn in messages),
        last=last_user(messages),
        limit=_limit(options),
        offered={
            tool["function"]["name"]: tool["function"].get("parameters") or {} for tool in body.get("tools") or ()
        },
        resulted=bool(messages) and messages[-1].get("role") == "tool",
        schema=_format(body.get("format")),
        stop=_stop(options),
        logprobs=bool(body.get("logprobs")),
    )


def generate(body: Body) -> Asked:
    options = body.get("options") or {}
    prompt = body.get("prompt") or ""
    if body.get("raw") and (body.get("template") or body.get("system") or body.get("context")):
        raise GoError(400, "raw mode does not support template, system, or context")
    return Asked(
        model=str(body["model"]),
        stream=body.get("stream", True) is not False,
        prompt="\n".join(part for part in (body.get("system"), prompt, body.get("suffix")) if part),
        last=prompt,
        limit=_limit(options),
        schema=_format(body.get("format")),
        stop=_stop(options),
        logprobs=bool(body.get("logprobs")),
    )


def texts(body: Body) -> list[str]:
    """The inputs of `/api/embed`."""
    value = body.get("input")
    if value is None:
        return []
    if isinstance(value, str):
        return [value] if value else []
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return value
    raise GoError(400, "invalid input type")


def _format(value: object) -> object:
    if value in (None, ""):
        return None
    if value == "json":
        return True
    if isinstance(value, Mapping):
        return value
    raise GoError(400, f'invalid format: {value!r}; expected "json" or a valid JSON Schema object')


def _limit(options: Mapping[str, Any]) -> int | None:
    value = options.get("num_predict", -1)
    return value if value > 0 else None


def _stop(options: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(options.get("stop") or ())


def _check_options(options: Mapping[str, Any]) -> None:
    for name, value in options.items():
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if value is not None and name in _FLOATS and not number:
            raise GoError(400, f'option "{name}" must be of type float32')
        if value is not None and name in _INTS and not number:
            raise GoError(400, f'option "{name}" must be of type integer')


def _images(body: Body) -> list[object]:
    found = list(body.get("images") or ())
    for message in body.get("messages") or ():
        found += message.get("images") or ()
    return found


def _check_image(image: object) -> None:
    try:
        base64.b64decode(str(image), validate=True)
    except binascii.Error as error:
        raise GoError(400, "illegal base64 data at input byte 0") from error
