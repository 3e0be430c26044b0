"""A strict OpenAI-compatible server: the scripted engine without vLLM's extras, refusing every field OpenAI does not know.

It catches what leaks: `cache_salt`, `return_token_ids`, `top_k` or anything else of vLLM's or ours sent to a stranger.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from penstock.faults.asked import Body
from penstock.faults.condition import Model
from penstock.faults.engine import Engine
from penstock.faults.flavour import Flavour
from penstock.faults.refused import Refused
from penstock.faults.script import HEALTHY, Script

_COMMON = "model stream stream_options user metadata store service_tier safety_identifier prompt_cache_key"
_FIELDS = {
    "/v1/chat/completions": (
        "messages audio frequency_penalty function_call functions logit_bias logprobs max_completion_tokens max_tokens "
        "modalities n parallel_tool_calls prediction presence_penalty reasoning_effort response_format seed stop "
        "temperature tool_choice tools top_logprobs top_p verbosity web_search_options"
    ),
    "/v1/completions": (
        "prompt best_of echo frequency_penalty logit_bias logprobs max_tokens n presence_penalty seed stop suffix "
        "temperature top_p"
    ),
    "/v1/embeddings": "input dimensions encoding_format",
    "/v1/responses": (
        "input background conversation include instructions max_output_tokens max_tool_calls parallel_tool_calls "
        "previous_response_id prompt reasoning temperature text tool_choice tools top_logprobs top_p truncation"
    ),
}
_KNOWN = {path: frozenset(f"{_COMMON} {fields}".split()) for path, fields in _FIELDS.items()}
_TYPES = {401: "authentication_error", 429: "rate_limit_error", 500: "server_error", 503: "server_error"}


def _check(path: str, body: Body) -> None:
    unknown = sorted(body.keys() - _KNOWN.get(path, body.keys()))
    if unknown:
        raise Refused(400, f"Unrecognized request argument supplied: {', '.join(unknown)}", param=unknown[0])


def _error(refused: Refused, path: str) -> bytes:
    del path
    error = {
        "message": refused.message,
        "type": _TYPES.get(refused.status, "invalid_request_error"),
        "param": refused.param,
        "code": "model_not_found" if refused.status == 404 else None,
    }
    return msgspec.json.encode({"error": error})


OPENAI = Flavour(
    owner="organization-owner",
    routes=frozenset(_FIELDS) | {"/v1/audio/transcriptions"},
    condition=frozenset({"/v1/models"}),
    windows=False,
    check=_check,
    error=_error,
)


def openai_engine(models: Iterable[str | Model] = ("gpt-test",), *, script: Script = HEALTHY, port: int = 0) -> Engine:
    """A strict OpenAI-compatible engine; use it as an async context manager."""
    return Engine(models, script=script, flavour=OPENAI, port=port)
