"""What an application says about its engines: the documents' `VLLMConfig` and `use_vllm`, a file, the environment.

The environment's names are those of penstock.environment; they go before the file, the file before the defaults. Without
a name that asks for vLLM it is Ollama (X3).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta

from penstock import environment
from penstock.client.model import Settings, SettingsError
from penstock.config import Fallback
from penstock.errors import ConfigError
from penstock.model_names import tag_of
from penstock.types import Kind
from penstock.yaml_file import read_yaml

Url = Annotated[str, Meta(extra={"unit": "url"})]
Share = Annotated[float, Meta(ge=0, extra={"expected": "a number from 0 to 1"})]
NotNegative = Annotated[float, Meta(ge=0, extra={"expected": "a number, 0 or more"})]
AtLeastOne = Annotated[int, Meta(ge=1)]


class VLLMConfig(Settings):
    """vLLM, with the defaults that the document promises (S1.19)."""

    host: Url = environment.DEFAULT_VLLM
    model_name: str = environment.DEFAULT_MODELS[Kind.VLLM]
    temperature: NotNegative = 0.0
    top_p: Share = 0.9
    top_k: int = 40
    max_tokens: AtLeastOne = 512
    timeout: AtLeastOne = 90
    retry_attempts: AtLeastOne = 3
    retry_delay: NotNegative = 1.0


class LLMConfig(Settings):
    """Ollama: what answers without vLLM, and in its place."""

    host: Url = environment.DEFAULT_OLLAMA
    model_name: str = environment.DEFAULT_MODELS[Kind.OLLAMA]
    temperature: NotNegative = 0.0
    top_p: Share | None = None
    top_k: int | None = None
    num_ctx: AtLeastOne | None = None
    num_predict: int | None = None
    repeat_penalty: NotNegative | None = None
    keep_alive: str | None = None
    timeout: AtLeastOne = 90


class ClientConfig(Settings):
    """Everything the factory needs."""

    use_vllm: Annotated[bool, Meta(description="Use vLLM instead of Ollama (False = Ollama, True = vLLM)")] = False
    vllm: VLLMConfig = VLLMConfig()
    llm: LLMConfig = LLMConfig()
    api_key: Annotated[str, Meta(description="Sent to vLLM; empty: none.", extra={"secret": True})] = ""
    fallback: Annotated[
        Fallback, Meta(description="Whether Ollama may answer in vLLM's place: any, same-model or never.")
    ] = "any"


def load_config(config_path: str | Path | None = None, environ: Mapping[str, str] | None = None) -> ClientConfig:
    """The settings from a YAML file, where one is named, and from the environment (S1.38).

    ConfigError names both sources where two names of the environment contradict each other, the file's line and the
    nearest key where a key is unknown, and what was expected where a URL is none.
    """
    values = _file(Path(config_path)) if config_path is not None else {}
    config = ClientConfig()
    if values:
        config = ClientConfig.model_validate(values)
    _environment(config, os.environ if environ is None else environ)
    return config


def _file(path: Path) -> dict[str, Any]:
    placed = read_yaml(path)
    try:
        ClientConfig.model_validate(placed.data)
    except SettingsError as wrong:
        raise SettingsError(f"{path}: {wrong.message}", hint=wrong.hint) from None
    return dict(placed.data)


def _environment(config: ClientConfig, environ: Mapping[str, str]) -> None:
    """Every name of the documents that is set, over what the settings say."""
    wanted, _ = environment.wants_vllm(environ)
    if wanted is not None:
        config.use_vllm = wanted
    urls = environment.agreed_url(environ, environment.ENGINE_URLS)
    if urls:
        config.vllm.host = next(iter(urls.values()))
        # A key in the environment belongs to the URL of its own family; it is never sent to an engine that others name.
        if any(name.startswith("OPENAI") for name in urls):
            config.api_key = environ.get("OPENAI_API_KEY", "").strip() or config.api_key
    spare = environment.agreed_url(environ, environment.OLLAMA_URLS)
    if spare:
        config.llm.host = next(iter(spare.values()))
    if model := environ.get("VLLM_MODEL", "").strip():
        config.vllm.model_name = model
        tag = tag_of(model)
        if tag and "model_name" not in config.llm.model_fields_set:
            config.llm.model_name = tag
    if config.use_vllm and not urls and "host" not in config.vllm.model_fields_set and wanted:
        _need_place(environ)


def _need_place(environ: Mapping[str, str]) -> None:
    """LLM_PROVIDER=vllm says nothing of where; USE_VLLM has a document's default (S1.19)."""
    if not environ.get("USE_VLLM", "").strip():
        raise ConfigError(
            f"LLM_PROVIDER={environ.get('LLM_PROVIDER', '')} asks for vLLM, but nothing says where it is.",
            hint="Set VLLM_URL=http://host:8000",
        )
