"""One call's arguments over a client's own: what LangChain's users pass to `invoke` and its kin, as an `Ask`."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from langchain_core.callbacks import (
    AsyncCallbackHandler,
    AsyncCallbackManagerForLLMRun,
    BaseCallbackHandler,
    CallbackManagerForLLMRun,
)

from penstock.client import arguments
from penstock.client.ask import Ask

RunManager = CallbackManagerForLLMRun | AsyncCallbackManagerForLLMRun

_DEAF = {BaseCallbackHandler.on_llm_new_token, AsyncCallbackHandler.on_llm_new_token}
_NOT_SENT = ("stream", "stream_usage", "strict")
"""What callers of other clients pass: the way of asking decides about a stream, and usage always comes."""

_TAKEN_BACK = {"logprobs": "logprobs", "format": "format", "reasoning": "thinking", "keep_alive": "keep_alive"}
"""Arguments of a call that undo the client's own with None, and their fields of an Ask."""


def asked(default: Ask, own_stop: Sequence[str] | None, stop: Sequence[str] | None, given: Mapping[str, Any]) -> Ask:
    """The ask of one call. `own_stop` are the client's stop words: beside those of a call they are an error, as in Ollama's classes."""
    if stop is not None and own_stop is not None:
        raise ValueError("`stop` found in both the input and default params.")
    if not given and stop is None:
        return default
    values = {name: value for name, value in given.items() if name not in _NOT_SENT}
    if stop is not None:
        values["stop"] = stop
    if "response_format" in values:
        wanted = values.pop("response_format")
        if values.get("format") is None:
            values["format"] = _format(wanted)
    if "logprobs" in values or "top_logprobs" in values:
        values["logprobs"] = alternatives(values.pop("logprobs", None), values.pop("top_logprobs", None))
    taken_back = {_TAKEN_BACK[name]: None for name in _TAKEN_BACK if name in values and values[name] is None}
    if taken_back:
        default = msgspec.structs.replace(default, **taken_back)
    if "parallel_tool_calls" in values:
        parallel = {"parallel_tool_calls": values.pop("parallel_tool_calls")}
        values["extra_body"] = {**default.extra, **(values.get("extra_body") or {}), **parallel}
    return arguments.asked(default, values)


def alternatives(logprobs: bool | None, top: int | None) -> int | None:  # noqa: FBT001 - Ollama's own names
    """How many alternatives to tell beside each token; None: no log probabilities at all."""
    if logprobs is False or (not logprobs and top is None):
        return None
    return top or 0


def listened_to(run_manager: RunManager | None) -> bool:
    """Whether anyone wants the tokens one by one: then also `invoke` asks for a stream, as Ollama's classes do."""
    if run_manager is None:
        return False
    return any(
        type(handler).on_llm_new_token not in _DEAF and not handler.ignore_llm for handler in run_manager.handlers
    )


def _format(wanted: object) -> object:
    """OpenAI's `response_format` as Ollama's `format`; what cannot be read is told and left out, as in ChatOllama."""
    kind = wanted.get("type") if isinstance(wanted, Mapping) else None
    if isinstance(wanted, Mapping) and kind == "json_object":
        return "json"
    if isinstance(wanted, Mapping) and kind == "json_schema":
        block = wanted.get("json_schema")
        schema = block.get("schema") if isinstance(block, Mapping) else None
        if isinstance(schema, Mapping):
            return schema
    elif kind == "text":
        return None
    warnings.warn(
        f"response_format={wanted!r} is left out: it is neither json_object nor json_schema with a schema.",
        UserWarning,
        stacklevel=4,
    )
    return None
