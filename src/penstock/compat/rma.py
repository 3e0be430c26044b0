"""The names of RMA's services: `call_vllm`, `call_ollama`, and the environment names they are configured by (S3.8 to S3.10, S3.21, S3.22).

    from llm import call_vllm, call_ollama      becomes    from penstock.compat.rma import call_vllm, call_ollama

Each function asks one engine only: falling back is the service's own `except`. A stream that breaks after content was
given raises `Interrupted`, and `call_ollama` inside the `except` of that raises it again: what has been given came from
another model, and two models' texts are never put together.
"""

# ruff: noqa: ANN401
# Options are whatever the engine's API takes.

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal, overload

from penstock import environment
from penstock.client import plain
from penstock.errors import BrokenAnswer, EngineFault
from penstock.model_names import tag_of

__all__ = ["LLM_PROVIDER", "VLLM_FALLBACK", "VLLM_MODEL", "VLLM_URL", "Interrupted", "call_ollama", "call_vllm"]

Prompt = str | Sequence[Mapping[str, Any]]
"""Text, or OpenAI's list of messages."""

_DEFAULTS = {
    "LLM_PROVIDER": "ollama",  # X3
    "VLLM_URL": "http://vllm:8000/v1",
    "VLLM_MODEL": "llama3.2",
    "VLLM_FALLBACK": "http://ollama:11434",
}
LLM_PROVIDER: str
VLLM_URL: str
VLLM_MODEL: str
VLLM_FALLBACK: str


def __getattr__(name: str) -> str:
    """The environment's value now, or the document's."""
    if name in _DEFAULTS:
        return os.environ.get(name, "").strip() or _DEFAULTS[name]
    raise AttributeError(f"module 'penstock.compat.rma' has no attribute {name!r}")


class Interrupted(BrokenAnswer):
    """A stream broke off. `given` is what had been given out of it."""

    def __init__(self, given: str, fault: EngineFault) -> None:
        super().__init__(
            f"The answer broke off after {len(given)} characters: {fault.message}",
            hint="What was given stays. Throw it away and ask again with call_ollama(…, anew=True).",
        )
        self.given = given


@overload
def call_vllm(prompt: Prompt, *, model: str | None = None, stream: Literal[False] = False, **options: Any) -> str: ...
@overload
def call_vllm(prompt: Prompt, *, model: str | None = None, stream: Literal[True], **options: Any) -> Iterator[str]: ...
def call_vllm(prompt: Prompt, *, model: str | None = None, stream: bool = False, **options: Any) -> str | Iterator[str]:
    """The answer of vLLM, or its tokens with `stream=True`. Raises within seconds where vLLM cannot be reached (X5)."""
    urls = environment.agreed_url(os.environ, environment.ENGINE_URLS)
    url = next(iter(urls.values()), _DEFAULTS["VLLM_URL"])
    keyed = any(name.startswith("OPENAI") for name in urls)
    key = os.environ.get("OPENAI_API_KEY", "") if keyed else ""
    client = _vllm(url, model or __getattr__("VLLM_MODEL"), key)
    return _spoken(client, prompt, options) if stream else client.invoke(prompt, **options).text


@overload
def call_ollama(
    prompt: Prompt, *, model: str | None = None, stream: Literal[False] = False, anew: bool = False, **options: Any
) -> str: ...
@overload
def call_ollama(
    prompt: Prompt, *, model: str | None = None, stream: Literal[True], anew: bool = False, **options: Any
) -> Iterator[str]: ...
def call_ollama(
    prompt: Prompt, *, model: str | None = None, stream: bool = False, anew: bool = False, **options: Any
) -> str | Iterator[str]:
    """Ollama's answer, or its tokens. `anew`: what an interrupted stream had given was thrown away."""
    handled = sys.exception()
    if isinstance(handled, Interrupted) and not anew:
        raise handled
    urls = environment.agreed_url(os.environ, environment.OLLAMA_URLS)
    url = next(iter(urls.values()), _DEFAULTS["VLLM_FALLBACK"])
    wanted = model or __getattr__("VLLM_MODEL")
    client = _ollama(url, tag_of(wanted) or wanted)
    return _spoken(client, prompt, options) if stream else client.invoke(prompt, **options).text


def _spoken(
    client: plain.ChatVLLM | plain.ChatOllamaClient, prompt: Prompt, options: Mapping[str, Any]
) -> Iterator[str]:
    given: list[str] = []
    try:
        for piece in client.stream(prompt, **options):
            if piece.text:
                given.append(piece.text)
                yield piece.text
    except EngineFault as fault:
        if not given:
            raise
        raise Interrupted("".join(given), fault) from fault


def forget() -> None:
    """Let go of every connection; the next call makes new ones."""
    for made in (_vllm, _ollama):
        made.cache_clear()


# The service's own `except` is the second attempt, so there is one here.


@lru_cache(maxsize=16)
def _vllm(url: str, model: str, key: str) -> plain.ChatVLLM:
    return plain.ChatVLLM(model, base_url=url, api_key=key, retry_attempts=1)


@lru_cache(maxsize=16)
def _ollama(url: str, model: str) -> plain.ChatOllamaClient:
    return plain.ChatOllamaClient(model, base_url=url, retry_attempts=1)
