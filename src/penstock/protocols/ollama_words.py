"""What Ollama says when it refuses a request, word for word, and the two small grammars it has: durations and options.

Clients match on some of these sentences, so they carry no hint and no prefix. Only checks of single fields live here.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from penstock.errors import BadRequest
from penstock.protocols.ollama_types import Options, Think, said

MISSING_BODY = "missing request body"
MODEL_REQUIRED = "model is required"
INVALID_INPUT = "invalid input type"
TOP_LOGPROBS = "top_logprobs must be between 0 and 20"
RAW_MODE = "raw mode does not support template, system, or context"

FOREVER: Final = 2**63 - 1
"""Nanoseconds that Go calls for ever; a negative `keep_alive` means it."""
_UNITS = {"ns": 1, "us": 10**3, "µs": 10**3, "μs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_TERM = re.compile(r"(\d+\.?\d*|\.\d+)([^\d.]*)", re.ASCII)
_LEVELS = frozenset({"low", "medium", "high", "max"})
_OPTION = re.compile(r"\$\.(\w+)")
_INTEGERS = frozenset({"num_keep", "seed", "num_predict", "top_k", "repeat_last_n", "mirostat", "num_ctx"})


def keep_alive(raw: msgspec.Raw) -> int | None:
    """Nanoseconds to keep the model loaded: a number of seconds or a Go duration; None where the client said nothing."""
    if not said(raw):
        return None
    value = msgspec.json.decode(raw)
    if isinstance(value, str):
        found = _go_duration(value)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        found = FOREVER if value < 0 else int(min(value * 10**9, FOREVER))
    else:
        kind = {bool: "bool", list: "[]interface {}", dict: "map[string]interface {}"}[type(value)]
        msg = f"Unsupported type: '{kind}'"
        raise BadRequest(msg, param="keep_alive")
    return FOREVER if found < 0 else found


def _go_duration(text: str) -> int:
    """Go's `time.ParseDuration`: signed decimal numbers with a unit each, or a plain 0."""
    sign = -1 if text.startswith("-") else 1
    rest = text[1:] if text[:1] in {"-", "+"} else text
    if rest == "0":
        return 0
    at, total = 0, 0.0
    while at < len(rest):
        term = _TERM.match(rest, at)
        if term is None:
            break
        number, unit = term.groups()
        if unit not in _UNITS:
            why = f'unknown unit "{unit}" in duration' if unit else "missing unit in duration"
            msg = f'time: {why} "{text}"'
            raise BadRequest(msg, param="keep_alive")
        total += float(number) * _UNITS[unit]
        at = term.end()
    if not rest or at < len(rest) or total > FOREVER:
        msg = f'time: invalid duration "{text}"'
        raise BadRequest(msg, param="keep_alive")
    return sign * int(total)


def check_think(value: Think) -> None:
    """`think` is a switch or a level."""
    if isinstance(value, str) and value not in _LEVELS:
        msg = f'invalid think value: "{value}" (must be "high", "medium", "low", "max", true, or false)'
        raise BadRequest(msg, param="think")


def check_format(raw: msgspec.Raw) -> None:
    """`format` is empty, "json" or a JSON Schema object."""
    text = bytes(raw)
    if text not in {b"", b"null", b'""', b'"json"'} and not text.startswith(b"{"):
        quoted = msgspec.json.encode(text.decode()).decode()
        msg = f'invalid format: {quoted}; expected "json" or a valid JSON Schema object'
        raise BadRequest(msg, param="format")


def check_top_logprobs(value: int | None) -> None:
    """0 to 20 alternatives."""
    if value is not None and not 0 <= value <= 20:
        raise BadRequest(TOP_LOGPROBS, param="top_logprobs")


def options(raw: msgspec.Raw) -> tuple[Options, tuple[str, ...]]:
    """The options we know, and the names of all that were given a value."""
    if not said(raw):
        return Options(), ()
    try:
        found = msgspec.json.decode(raw, type=Options)
        names = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
    except msgspec.ValidationError as error:
        raise _bad_option(str(error)) from None
    return found, tuple(name for name, value in names.items() if said(value))


def _bad_option(why: str) -> BadRequest:
    name = match.group(1) if (match := _OPTION.search(why)) else None
    if name is None:
        return BadRequest(f"Reading the request body: options: {why}.", param="options")
    kind = "type integer" if name in _INTEGERS else "type float32"
    if name == "stop":
        kind = "an array of strings" if "$.stop[" in why else "type array"
    return BadRequest(f'option "{name}" must be of {kind}', param=f"options.{name}")
