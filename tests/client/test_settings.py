"""Settings: the documents' defaults and names, pydantic's methods, and every way to be wrong told."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import pydantic
import pytest

from penstock.client.model import SettingsError
from penstock.client.settings import ClientConfig, LLMConfig, VLLMConfig, load_config
from penstock.errors import ConfigError

DOCUMENTED = {
    "host": "http://vllm-server:8000",
    "model_name": "meta-llama/Meta-Llama-3.1-8B-Instruct",
    "temperature": 0.0,
    "top_p": 0.9,
    "top_k": 40,
    "max_tokens": 512,
    "timeout": 90,
    "retry_attempts": 3,
    "retry_delay": 1.0,
}


def test_the_documents_defaults() -> None:
    """S1.19: every field and value."""
    assert VLLMConfig().model_dump() == DOCUMENTED
    assert {name: field.default for name, field in VLLMConfig.model_fields.items()} == DOCUMENTED


def test_ollama_is_the_default() -> None:
    """S1.20, X3: nothing set means Ollama, here in the library."""
    field = ClientConfig.model_fields["use_vllm"]
    assert field.default is False
    assert field.description.startswith("Use vLLM instead of Ollama (False = Ollama")
    assert load_config(environ={}).use_vllm is False


@pytest.mark.parametrize("text", ["true", "1", "yes", "TRUE"])
def test_the_flag(text: str) -> None:
    """S1.3: true, 1, yes."""
    assert load_config(environ={"USE_VLLM": text}).use_vllm is True
    assert load_config(environ={"USE_VLLM": "false"}).use_vllm is False


def test_the_environment() -> None:
    """S1.21, S1.22, S1.38, S3.21, X2: the documents' names, both spellings of a URL."""
    config = load_config(
        environ={
            "USE_VLLM": "true",
            "VLLM_HOST": "http://gpu:8001",
            "VLLM_URL": "http://gpu:8001/v1",
            "VLLM_MODEL": "meta-llama/Llama-3.2-3B-Instruct",
            "VLLM_FALLBACK": "http://ollama:11434",
        }
    )
    assert (config.vllm.host, config.vllm.model_name) == ("http://gpu:8001", "meta-llama/Llama-3.2-3B-Instruct")
    assert (config.llm.host, config.llm.model_name) == ("http://ollama:11434", "llama3.2:3b")


def test_three_ways_to_enable() -> None:
    """S1.26: environment, compose (which is the environment), and code."""
    assert load_config(environ={"USE_VLLM": "true", "VLLM_HOST": "http://vllm-server:8000"}).use_vllm
    config = load_config(environ={})
    config.use_vllm = True
    assert config.use_vllm is True


def test_a_key_goes_only_where_it_belongs() -> None:
    """S0.13, S0.14: the key of OpenAI's names is sent to the URL of OpenAI's names, to no other."""
    named = {"USE_VLLM": "1", "OPENAI_API_KEY": "dummy"}
    assert load_config(environ={**named, "OPENAI_API_BASE": "http://localhost:8001/v1"}).api_key == "dummy"
    assert load_config(environ={**named, "VLLM_HOST": "http://localhost:8001"}).api_key == ""
    assert "dummy" not in repr(load_config(environ={**named, "OPENAI_API_BASE": "http://localhost:8001/v1"}))


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"VLLM_HOST": "http://a:1", "VLLM_URL": "http://b:2"}, ["VLLM_HOST=http://a:1", "VLLM_URL=http://b:2"]),
        ({"USE_VLLM": "true", "LLM_PROVIDER": "ollama"}, ["USE_VLLM=true", "LLM_PROVIDER=ollama"]),
        ({"VLLM_HOST": "gpu:8001"}, ["VLLM_HOST=gpu:8001"]),
        ({"VLLM_URL": "http://a/v1/v1"}, ["VLLM_URL=http://a/v1/v1"]),
        ({"USE_VLLM": "perhaps"}, ["USE_VLLM=perhaps"]),
        ({"LLM_PROVIDER": "vllm"}, ["LLM_PROVIDER=vllm", "nothing says where"]),
    ],
)
def test_contradictions_and_impossible_values_name_their_sources(environ: dict[str, str], words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(environ=environ)
    assert all(word in str(caught.value) for word in words)


def test_a_file(tmp_path: Path) -> None:
    """The environment goes before the file, the file before the defaults."""
    path = tmp_path / "config.yaml"
    path.write_text("use_vllm: true\nvllm: {host: 'http://gpu:1/v1', max_tokens: 64}\nllm: {model_name: phi3.5}\n")
    config = load_config(path, environ={"VLLM_MODEL": "llama3.2"})
    assert config.vllm.model_dump() == {
        **DOCUMENTED,
        "host": "http://gpu:1",
        "max_tokens": 64,
        "model_name": "llama3.2",
    }
    assert config.llm.model_name == "phi3.5"
    path.write_text("use_vlm: true\nvllm: {top_k: many}\n")
    with pytest.raises(SettingsError) as caught:
        load_config(path, environ={})
    assert str(path) in str(caught.value)
    assert "use_vlm: unknown key; did you mean 'use_vllm'?" in str(caught.value)
    assert "vllm.top_k: expects" in str(caught.value)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"hst": "http://a:1"}, "unknown key; did you mean 'host'"),
        ({"host": "ftp://a"}, "http:// or https://"),
        ({"host": "http://a/v1/models"}, "two ways"),
        ({"timeout": 0}, "at least 1"),
        ({"timeout": "soon"}, "whole number"),
        ({"temperature": -1}, "a number, 0 or more"),
        ({"model_name": 7}, "quotes"),
    ],
)
def test_a_wrong_value_is_told(given: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        VLLMConfig(**given)
    with pytest.raises(ValueError, match=words):
        VLLMConfig.model_validate(given)
    config = VLLMConfig()
    name, value = next(iter(given.items()))
    with pytest.raises(SettingsError, match=words):
        setattr(config, name, value)
    assert config == VLLMConfig()


def test_pydantics_methods() -> None:
    """S1.9: what code does with a pydantic model works."""
    config = VLLMConfig(top_k=3)
    assert config.model_dump(exclude_unset=True) == {"top_k": 3}
    assert config.model_dump(exclude_defaults=True) == {"top_k": 3}
    assert config.model_dump(include={"top_k", "top_p"}) == {"top_p": 0.9, "top_k": 3}
    assert "host" not in config.model_dump(exclude={"host"})
    assert "top_p" not in LLMConfig().model_dump(exclude_none=True)
    assert config.dict() == config.model_dump() == dict(config)
    assert VLLMConfig.model_validate_json(config.model_dump_json()) == config
    assert VLLMConfig.parse_obj(config.model_dump()) == config
    assert VLLMConfig.model_validate(config) is config
    assert config.model_copy(update={"top_k": 4}).top_k == 4
    assert config.copy() == config
    assert config.model_fields_set == {"top_k"}
    assert copy.deepcopy(config) == pickle.loads(pickle.dumps(config)) == config  # noqa: S301 - our own bytes
    schema = VLLMConfig.model_json_schema()
    assert set(schema["$defs"]["VLLMConfig"]["properties"]) == set(DOCUMENTED)
    assert repr(config).startswith("VLLMConfig(host='http://vllm-server:8000'")


def test_nested_settings_stay_the_object_they_are() -> None:
    inner = VLLMConfig(top_k=3)
    outer = ClientConfig(vllm=inner)
    assert outer.vllm is inner
    outer.vllm = VLLMConfig()
    assert outer.vllm.top_k == 40
    assert ClientConfig().vllm is not ClientConfig().vllm
    assert ClientConfig(vllm={"top_k": 5}).vllm.top_k == 5  # type: ignore[arg-type]


def test_a_pydantic_model_may_hold_them() -> None:
    """S1.9: an application's own pydantic configuration takes VLLMConfig as a field."""

    class AppConfig(pydantic.BaseModel):
        use_vllm: bool = False
        vllm: VLLMConfig = pydantic.Field(default_factory=VLLMConfig)

    app = AppConfig.model_validate({"vllm": {"top_k": 3}})
    assert app.vllm == VLLMConfig(top_k=3)
    assert app.model_dump()["vllm"]["top_k"] == 3
    with pytest.raises(pydantic.ValidationError, match="did you mean 'top_k'"):
        AppConfig.model_validate({"vllm": {"topk": 3}})
