"""Ollama's options in the words of each kind of OpenAI-speaking engine, and the names of those it has no word for.

An option is never dropped silently: what a client set and an engine cannot honour is returned by name. Options that an
engine honours without being told (a `num_ctx` that fits its window) are neither sent nor named.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from penstock.protocols import ollama_words
from penstock.protocols.dialect import Destination
from penstock.protocols.ollama_openai import Sampling
from penstock.protocols.ollama_types import Number, Options
from penstock.types import Kind

S = TypeVar("S", bound=Sampling)

DEFAULTS = Options(temperature=0.8, top_k=40, top_p=0.9, min_p=0.0, repeat_penalty=1.0)
"""Ollama's own where it has one that an engine's default may differ from; the others are no limit and no penalty."""

_MOSTLY_FITS = 2048

_SAID = {
    Kind.OPENAI: frozenset(
        {"num_predict", "temperature", "top_p", "presence_penalty", "frequency_penalty", "seed", "stop"}
    ),
}
_SAID[Kind.VLLM] = _SAID[Kind.OPENAI] | {"top_k", "min_p", "repeat_penalty"}
_SAID[Kind.EMBEDDED] = _SAID[Kind.VLLM] | {
    "typical_p", "repeat_last_n", "mirostat", "mirostat_tau", "mirostat_eta", "num_keep",
}  # fmt: skip


def apply(raw: msgspec.Raw, body: S, to: Destination) -> tuple[str, ...]:
    """Set on `body` what can be said to this engine; the names of what the client gave and cannot be said."""
    options, given = ollama_words.options(raw)
    words = _SAID[to.kind]
    _WRITE[to.kind](_filled(options) if to.ollama_defaults else options, body)
    if to.kind is Kind.VLLM and to.window and isinstance(body.max_tokens, int):
        # vLLM refuses more than its window; Ollama stops where the window ends.
        body.max_tokens = min(body.max_tokens, to.window)
    dropped = [name for name in given if name not in words and name != "num_ctx"]
    if options.num_ctx is not None and (to.window is None or options.num_ctx > to.window):
        dropped.append("num_ctx")
    return tuple(dropped)


def unlimited(body: Sampling, to: Destination) -> bool:
    """Say "as many as fit" on `/v1/completions`, where silence and null mean 16 tokens; False where that is no word.

    vLLM cuts its whole window down to what the prompt leaves. llama.cpp has no limit of its own. Others refuse a limit
    that does not fit beside the prompt, whose length we do not know, and get one that mostly does.
    """
    if to.kind is Kind.EMBEDDED:
        return True
    if to.kind is Kind.VLLM and to.window:
        body.max_tokens = to.window
        return True
    body.max_tokens = min(_MOSTLY_FITS, to.window // 2) if to.window else _MOSTLY_FITS
    return False


def names(raw: msgspec.Raw) -> tuple[str, ...]:
    """Every option given, for routes that generate nothing."""
    return ollama_words.options(raw)[1]


def _filled(options: Options) -> Options:
    """The client's options with Ollama's defaults where it gave none."""
    return msgspec.structs.replace(
        options,
        temperature=_or(options.temperature, DEFAULTS.temperature),
        top_k=_or(options.top_k, DEFAULTS.top_k),
        top_p=_or(options.top_p, DEFAULTS.top_p),
        min_p=_or(options.min_p, DEFAULTS.min_p),
        repeat_penalty=_or(options.repeat_penalty, DEFAULTS.repeat_penalty),
    )


def _or(value: Number | None, default: Number | None) -> Number | None:
    return default if value is None else value


def _openai(options: Options, body: Sampling) -> None:
    if options.num_predict is not None and options.num_predict >= 1:
        body.max_tokens = int(options.num_predict)
    body.temperature = _set(options.temperature)
    body.top_p = _set(options.top_p)
    body.presence_penalty = _set(options.presence_penalty)
    body.frequency_penalty = _set(options.frequency_penalty)
    # -1 is Ollama's word for a seed of the engine's choice.
    if options.seed is not None and options.seed != -1:
        body.seed = int(options.seed)
    if options.stop:
        body.stop = options.stop


def _vllm(options: Options, body: Sampling) -> None:
    _openai(options, body)
    # llama.cpp keeps at least one token whatever top_p says; vLLM refuses 0 and anything above 1.
    if options.top_p is not None:
        body.top_p = min(max(options.top_p, 1e-6), 1.0)
    # Every number below one means "no limit" to Ollama; vLLM knows 0.
    body.top_k = max(int(options.top_k), 0) if options.top_k is not None else UNSET
    body.min_p = _set(options.min_p)
    body.repetition_penalty = _set(options.repeat_penalty)


def _embedded(options: Options, body: Sampling) -> None:
    _openai(options, body)
    body.top_k = _whole(options.top_k)
    body.min_p = _set(options.min_p)
    body.repeat_penalty = _set(options.repeat_penalty)
    body.typical_p = _set(options.typical_p)
    body.repeat_last_n = _whole(options.repeat_last_n)
    body.mirostat = _whole(options.mirostat)
    body.mirostat_tau = _set(options.mirostat_tau)
    body.mirostat_eta = _set(options.mirostat_eta)
    body.n_keep = _whole(options.num_keep)


def _set(value: Number | None) -> Number | UnsetType:
    return UNSET if value is None else value


def _whole(value: Number | None) -> int | UnsetType:
    return UNSET if value is None else int(value)


_WRITE: dict[Kind, Callable[[Options, Sampling], None]] = {
    Kind.OPENAI: _openai,
    Kind.VLLM: _vllm,
    Kind.EMBEDDED: _embedded,
}
