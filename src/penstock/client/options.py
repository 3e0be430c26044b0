"""Sampling options: the spellings people use, and the words each kind of engine has for them.

An option is never dropped silently: what an engine has no word for is returned by name. No I/O here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from penstock.client.ask import Options
from penstock.errors import ConfigError
from penstock.types import Kind

FIELDS = Options.__struct_fields__
SPELLINGS = {
    **{name: name for name in FIELDS},
    "num_predict": "max_tokens",
    "max_completion_tokens": "max_tokens",
    "repetition_penalty": "repeat_penalty",
}
"""Every accepted spelling, and the name it has here."""

_OPENAI = {
    name: name
    for name in ("temperature", "top_p", "max_tokens", "seed", "stop", "presence_penalty", "frequency_penalty")
}
_VLLM = {**_OPENAI, "top_k": "top_k", "min_p": "min_p", "repeat_penalty": "repetition_penalty"}
_LLAMA_CPP = {
    **_OPENAI, "top_k": "top_k", "min_p": "min_p", "repeat_penalty": "repeat_penalty", "typical_p": "typical_p",
    "repeat_last_n": "repeat_last_n", "mirostat": "mirostat", "mirostat_tau": "mirostat_tau",
    "mirostat_eta": "mirostat_eta", "num_keep": "n_keep",
}  # fmt: skip
_OLLAMA = {name: name for name in FIELDS} | {"max_tokens": "num_predict"}
_WORDS: Mapping[Kind, Mapping[str, str]] = {
    Kind.OPENAI: _OPENAI,
    Kind.VLLM: _VLLM,
    Kind.EMBEDDED: _LLAMA_CPP,
    Kind.OLLAMA: _OLLAMA,
}


class Said(NamedTuple):
    """Options in an engine's words. The mapping is shared: do not change it."""

    words: Mapping[str, Any]
    dropped: tuple[str, ...]


def changed(options: Options, given: Mapping[str, Any]) -> Options:
    """The options with some of them given anew, in any spelling; None leaves one as it was.

    Two spellings of one option with different values are a ConfigError that names both; so is a value of a wrong type.
    """
    values: dict[str, Any] = {}
    spelled: dict[str, str] = {}
    for spelling, value in given.items():
        name = SPELLINGS[spelling]
        if value is None:
            continue
        clean = _stop(value) if name == "stop" else value
        if name in values and values[name] != clean:
            raise ConfigError(
                f"{spelled[name]}={values[name]!r} and {spelling}={value!r} are two spellings of one option.",
                hint="Give one of them.",
            )
        if isinstance(clean, float) and not math.isfinite(clean):
            raise ConfigError(f"{spelling}={clean} cannot be used.", hint="It is a number.")
        values[name], spelled[name] = clean, spelling
    if not values:
        return options
    try:
        return msgspec.convert({**msgspec.structs.asdict(options), **values}, Options)
    except msgspec.ValidationError as wrong:
        raise ConfigError(f"An option cannot be used: {wrong}", hint=f"Given: {dict(given)}") from None


@lru_cache(maxsize=256)
def said(options: Options, kind: Kind) -> Said:
    """The options as this kind of engine calls them, and the names of those it has no word for."""
    known = _WORDS[kind]
    words: dict[str, Any] = {}
    dropped = []
    for name in FIELDS:
        value = getattr(options, name)
        if value is None or value == ():
            continue
        if kind is not Kind.OLLAMA:
            value = _plain(name, value, kind)
        if value is None:
            continue
        if name in known:
            words[known[name]] = value
        else:
            dropped.append(name)
    return Said(words, tuple(dropped))


def _plain(name: str, value: Any, kind: Kind) -> Any:  # noqa: ANN401 - options are of several types
    """A value in the sense that engines other than Ollama give it; None: their own choice is what was meant."""
    if name == "max_tokens" and value < 1:
        return None
    if name == "seed" and value == -1:
        return None
    if name == "top_k" and kind is Kind.VLLM:
        return max(value, 0)  # below one means "no limit" to Ollama; vLLM knows 0
    if name == "top_p" and kind is Kind.VLLM:
        return min(max(value, 1e-6), 1.0)  # vLLM refuses 0, where others keep one token
    return value


def _stop(value: object) -> object:
    if isinstance(value, str):
        return (value,)
    return tuple(value) if isinstance(value, Iterable) else value
