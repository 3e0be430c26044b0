"""Which kind of OpenAI-speaking engine is played: its routes, its manners, its errors. Frozen values."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from penstock.faults.asked import Body
from penstock.faults.refused import Refused

GENERATE = frozenset(
    {
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/responses",
        "/v1/messages",
        "/v1/messages/count_tokens",
        "/tokenize",
        "/detokenize",
    }
)
POOL = frozenset({"/v1/embeddings", "/score", "/v1/score", "/rerank", "/v1/rerank", "/v2/rerank"})
AUDIO = frozenset({"/v1/audio/transcriptions", "/v1/audio/translations"})
CONDITION = frozenset(
    {"/health", "/ping", "/v1/models", "/version", "/openapi.json", "/metrics", "/load", "/is_sleeping"}
)


def _accept(path: str, body: Body) -> None:
    """VLLM takes every field (`extra="allow"`)."""


def _body(refused: Refused, path: str) -> bytes:
    return refused.body(path)


class Flavour(msgspec.Struct, frozen=True, kw_only=True):
    owner: str = "vllm"
    routes: frozenset[str] = GENERATE | POOL | AUDIO
    """Paths that ask a model. One real vLLM serves either to generate or to pool; a test may want both."""
    condition: frozenset[str] = CONDITION
    windows: bool = True
    """Whether `/v1/models` tells context lengths."""
    check: Callable[[str, Body], None] = _accept
    """Raises `Refused` for what this engine would not take."""
    error: Callable[[Refused, str], bytes] = _body


VLLM = Flavour()
