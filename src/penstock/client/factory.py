"""Which client an application gets: vLLM with Ollama behind it, or Ollama (S1.17, S1.18).

The settings may be ours or any object with `use_vllm`, `vllm` and `llm`, as the documents' own application has.
"""

from __future__ import annotations

import logging
import os
from typing import Any

import penstock.client as forms
from penstock import environment
from penstock.address import ollama_url
from penstock.client.engines import Engines
from penstock.client.place import Target
from penstock.client.settings import LLMConfig, VLLMConfig, load_config
from penstock.errors import ConfigError
from penstock.types import Kind

logger = logging.getLogger("penstock.client")

_VLLM_OPTIONS = ("temperature", "top_p", "top_k", "max_tokens")
_LLM_OPTIONS = ("temperature", "top_p", "top_k", "num_ctx", "num_predict", "repeat_penalty", "keep_alive")


def create_llm(config: object = None, test_connection: bool = True) -> Any:  # noqa: ANN401, FBT001, FBT002 - the documents' signature
    """The client that the settings ask for; without settings, those of the environment.

    With `test_connection`, vLLM is asked for its models first; if that fails, a warning says why and the client is
    Ollama's. Without it nothing is asked, and a vLLM that does not answer is noticed, and replaced, by the first call
    (W30). Either way Ollama answers single calls that vLLM cannot, unless `config.fallback` forbids it.
    """
    settings = load_config() if config is None else config
    if not is_vllm_enabled(settings):
        return _ollama(settings)
    llm = _vllm(settings)
    if test_connection:
        fault = llm.engines.trial()
        if fault is not None:
            if _policy(settings) == "never":
                raise fault
            logger.warning("⚠ vLLM initialization failed: %s", fault)
            target = _spare(settings)
            logger.warning("Falling back to Ollama at %s, model %s", target.url, target.model)
            llm.close()
            return _ollama(settings)
    place = llm.engines.first
    logger.info("Using vLLM at %s, model %s", place.url, place.model)
    return llm


def get_llm_type(llm: object) -> str:
    """`"vllm"` or `"ollama"`: who gave the last answer, and before the first one, who will be asked."""
    engines = getattr(llm, "engines", None)
    if isinstance(engines, Engines):
        kind = engines.answered.kind if engines.answered else engines.first.kind
        return "ollama" if kind is Kind.OLLAMA else "vllm"
    if "ollama" in f"{type(llm).__module__}.{type(llm).__name__}".lower():
        return "ollama"
    raise TypeError(f"{type(llm).__name__} is neither a vLLM client nor an Ollama client")


def is_vllm_enabled(config: object) -> bool:
    """Whether the settings ask for vLLM."""
    return bool(getattr(config, "use_vllm", False))


def _vllm(config: object) -> Any:  # noqa: ANN401 - of the plain form or of LangChain's
    said = getattr(config, "vllm", None)
    values = {name: getattr(said, name, field.default) for name, field in VLLMConfig.model_fields.items()}
    return forms.VLLMClient(
        model=values["model_name"],
        base_url=values["host"],
        api_key=str(getattr(config, "api_key", "") or "") or None,
        timeout=values["timeout"],
        retry_attempts=values["retry_attempts"],
        retry_delay=values["retry_delay"],
        fallback=_spare(config),
        fallback_policy=_policy(config),
        **{name: values[name] for name in _VLLM_OPTIONS},
    )


def _ollama(config: object) -> Any:  # noqa: ANN401
    said = getattr(config, "llm", None)
    target = _spare(config)
    options = {name: getattr(said, name, None) for name in _LLM_OPTIONS}
    return forms.OllamaClient(
        model=target.model,
        base_url=target.url,
        timeout=getattr(said, "timeout", None),
        **{name: value for name, value in options.items() if value is not None},
    )


def _spare(config: object) -> Target:
    """The documents' Ollama, which is always there as a backup."""
    said = getattr(config, "llm", None)
    url = getattr(said, "host", None) or getattr(said, "base_url", None) or _usual_ollama()
    model = getattr(said, "model_name", None) or LLMConfig.model_fields["model_name"].default
    return Target(Kind.OLLAMA, str(url), str(model))


def _usual_ollama() -> str:
    named = os.environ.get("OLLAMA_HOST", "").strip()
    return ollama_url(named) if named else environment.DEFAULT_OLLAMA


def _policy(config: object) -> str:
    policy = getattr(config, "fallback", "any")
    if policy not in {"any", "same-model", "never"}:
        raise ConfigError(f"fallback={policy!r} cannot be used.", hint="any, same-model or never.")
    return str(policy)
