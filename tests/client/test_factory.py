"""The factory: which client an application gets, and what it says about it."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest
from tests.client.conftest import Ways
from tests.fakes.threads import in_thread

from penstock.client import create_llm, get_llm_type, is_vllm_enabled, load_config
from penstock.client.settings import ClientConfig
from penstock.errors import ConfigError, PenstockError
from penstock.faults.engine import Engine
from penstock.faults.ollama import OllamaDouble
from penstock.faults.script import Script

NOBODY = "http://127.0.0.1:9"


def settings(engine: str, ollama: OllamaDouble, **values: Any) -> ClientConfig:  # noqa: ANN401
    return ClientConfig(
        use_vllm=True,
        vllm={"host": engine, "model_name": "m", "timeout": 20, "retry_delay": 0.01},  # type: ignore[arg-type]
        llm={"host": ollama.url, "model_name": "llama3.2"},  # type: ignore[arg-type]
        **values,
    )


async def made(ways: Ways, config: object, **options: bool) -> Any:  # noqa: ANN401
    return ways.made(await in_thread(lambda: create_llm(config, **options)))


async def test_vllm(ways: Ways, scripted_engine: Engine, ollama_double: OllamaDouble) -> None:
    """S1.17, S1.18: asked for and there."""
    config = settings(scripted_engine.url, ollama_double)
    llm = await made(ways, config)
    assert get_llm_type(llm) == "vllm"
    assert is_vllm_enabled(config) is True
    assert await ways.ask(llm, "Hello") == "Hello"
    assert len(scripted_engine.requests) == 1


async def test_ollama(ways: Ways, ollama_double: OllamaDouble) -> None:
    """S1.18, S1.20: not asked for."""
    config = settings(NOBODY, ollama_double)
    config.use_vllm = False
    llm = await made(ways, config)
    assert get_llm_type(llm) == "ollama"
    assert is_vllm_enabled(config) is False
    assert await ways.ask(llm, "Hello") == "Hello"


async def test_vllm_down_at_creation(ways: Ways, ollama_double: OllamaDouble, caplog: pytest.LogCaptureFixture) -> None:
    """S1.16, S1.33: noticed, logged in the document's words, and Ollama's client is returned."""
    llm = await made(ways, settings(NOBODY, ollama_double))
    assert get_llm_type(llm) == "ollama"
    assert "⚠ vLLM initialization failed: Connection refused" in caplog.messages
    assert any("Falling back to Ollama" in line for line in caplog.messages)
    assert await ways.ask(llm, "Hello") == "Hello"


async def test_the_model_is_not_loaded_at_creation(
    ways: Ways, scripted_engine: Engine, ollama_double: OllamaDouble, caplog: pytest.LogCaptureFixture
) -> None:
    """S1.36: the health check fails, Ollama at once, and the log says what is served."""
    scripted_engine.models.clear()
    llm = await made(ways, settings(scripted_engine.url, ollama_double))
    assert get_llm_type(llm) == "ollama"
    assert any("does not serve the model 'm'; it serves none" in line for line in caplog.messages)


async def test_vllm_down_and_nothing_tested(
    ways: Ways, ollama_double: OllamaDouble, caplog: pytest.LogCaptureFixture
) -> None:
    """S1.23, W30: the document's start-up; `test_connection=False` touches nothing, the first call falls back, and the
    line that follows says truly who answered."""
    caplog.set_level(logging.INFO)
    llm = await made(ways, settings(NOBODY, ollama_double), test_connection=False)
    assert get_llm_type(llm) == "vllm"
    await in_thread(lambda: llm.invoke("Hello"))
    assert get_llm_type(llm) == "ollama"
    assert "vLLM failed: Connection refused, trying Ollama" in caplog.messages


async def test_vllm_comes_back(ways: Ways, scripted_engine: Engine, ollama_double: OllamaDouble) -> None:
    """S1.34: the next request tries again."""
    await scripted_engine.stop()
    llm = await made(ways, settings(scripted_engine.url, ollama_double), test_connection=False)
    await ways.ask(llm, "Hello")
    await scripted_engine.start()
    await ways.ask(llm, "Hello")
    assert get_llm_type(llm) == "vllm"


async def test_retries_are_those_of_the_settings(
    ways: Ways, scripted_engine: Engine, ollama_double: OllamaDouble
) -> None:
    """W30: retry_attempts is not ignored, and top_k is sent."""
    config = settings(scripted_engine.url, ollama_double)
    config.vllm.retry_attempts = 2
    config.vllm.top_k = 7
    llm = await made(ways, config)
    scripted_engine.script = Script(status=500)
    assert await ways.ask(llm, "Hello") == "Hello"
    assert len(scripted_engine.requests) == 2
    assert b'"top_k":7' in scripted_engine.requests[0].body


async def test_fallback_forbidden(ways: Ways, ollama_double: OllamaDouble) -> None:
    """X4: `never` raises at creation instead of giving another engine."""
    with pytest.raises(PenstockError, match="Connection refused"):
        await made(ways, settings(NOBODY, ollama_double, fallback="never"))
    with pytest.raises(ConfigError, match="fallback='sometimes'"):
        await made(ways, SimpleNamespace(use_vllm=True, fallback="sometimes"))


async def test_an_applications_own_settings(ways: Ways, scripted_engine: Engine, ollama_double: OllamaDouble) -> None:
    """S1.31: any object with use_vllm, vllm and llm; what it lacks has the documents' defaults."""
    config = SimpleNamespace(
        use_vllm=True,
        vllm=SimpleNamespace(host=f"{scripted_engine.url}/v1", model_name="m", something="else"),
        llm=SimpleNamespace(model_name="llama3.2", base_url=ollama_double.url),
    )
    llm = await made(ways, config)
    assert await ways.ask(llm, "Hello") == "Hello"
    config.use_vllm = False
    assert await ways.ask(await made(ways, config), "Hello") == "Hello"
    assert (len(scripted_engine.requests), len(ollama_double.requests)) == (1, 1)


async def test_from_the_environment(
    ways: Ways, scripted_engine: Engine, ollama_double: OllamaDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S1.3, S1.38, S1.40, S1.32: USE_VLLM=false and a restart is the way back."""
    monkeypatch.setenv("USE_VLLM", "true")
    monkeypatch.setenv("VLLM_HOST", scripted_engine.url)
    monkeypatch.setenv("VLLM_MODEL", "m")
    monkeypatch.setenv("OLLAMA_HOST", ollama_double.url)
    assert get_llm_type(await made(ways, None)) == "vllm"
    monkeypatch.setenv("USE_VLLM", "false")
    assert get_llm_type(await made(ways, load_config())) == "ollama"


def test_the_type_of_other_clients() -> None:
    """S1.17: LangChain's own Ollama class is "ollama"; what is neither is told."""
    from langchain_ollama import OllamaLLM  # noqa: PLC0415 - only this test needs it

    assert get_llm_type(OllamaLLM(model="llama3.2")) == "ollama"
    with pytest.raises(TypeError, match="str is neither"):
        get_llm_type("llm")
