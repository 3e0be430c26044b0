"""The first document, Tactical RAG: its promised scenarios, one after the other, through the names that it gives.

How its snippets run word for word: tests/compat/test_tactical.py. Its six tests: tests/test_vllm_integration.py.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from langchain_ollama import OllamaEmbeddings, OllamaLLM
from tests.documents.consumers import AdaptiveRetrieval, all_of
from tests.fakes.gateway import Gateway
from tests.fakes.threads import in_thread
from tests.guided import HUB, TAG

from penstock.client import ClientConfig
from penstock.compat.tactical import OllamaLLM as OurOllama
from penstock.compat.tactical import VLLMClient, create_llm, get_llm_type
from penstock.errors import EngineTimeout, PenstockError
from penstock.faults.engine import Engine
from penstock.faults.ollama import OllamaDouble
from penstock.faults.script import Script

PROGRAM = Path(__file__).parents[1] / "test_vllm_integration.py"


@pytest.fixture
def config(scripted_engine: Engine, ollama_double: OllamaDouble) -> ClientConfig:
    """vLLM with Ollama behind it, as the document's application is configured."""
    config = ClientConfig()
    config.use_vllm, config.vllm.host, config.vllm.model_name = True, scripted_engine.url, "m"
    config.vllm.retry_delay = 0.01
    config.llm.host, config.llm.model_name = ollama_double.url, "llama3.2"
    return config


class Application:
    """The document's: one model for its life, made by the factory."""

    def __init__(self) -> None:
        self.llm: Any = None

    async def start(self, config: ClientConfig, *, test_connection: bool = True) -> Any:  # noqa: ANN401
        self.llm = await in_thread(lambda: create_llm(config, test_connection=test_connection))
        return self.llm

    async def ask(self, question: str) -> str:
        answer: str = await asyncio.to_thread(self.llm.invoke, question)
        return answer


@pytest_asyncio.fixture
async def application() -> AsyncIterator[Application]:
    application = Application()
    yield application
    if application.llm is not None:
        await application.llm.aclose()


async def test_existing_code_works_unchanged(guided: Gateway) -> None:
    """S1.1, S1.31: three consumers, a start-up and error handling come to the same with either class."""
    old = OllamaLLM(model=TAG, base_url=guided.url, temperature=0.0, top_k=40, top_p=0.9)
    new = VLLMClient(model=HUB, base_url=guided.url, temperature=0.0)
    assert await all_of(new) == await all_of(old)
    assert old._client is not None
    old._client.close()  # type: ignore[no-untyped-call]
    assert old._async_client is not None
    await old._async_client.close()  # type: ignore[no-untyped-call]
    await new.aclose()


async def test_an_applications_own_except_still_catches(
    application: Application, config: ClientConfig, scripted_engine: Engine
) -> None:
    """S1.31: error handling is preserved: what the library raises is an Exception with a sentence."""
    config.fallback = "never"
    retrieval = AdaptiveRetrieval(await application.start(config))
    scripted_engine.script = Script(status=500)
    assert await retrieval.rewritten("as it was") == "as it was"
    assert [str(error).startswith("Asking vLLM at") for error in retrieval.failed] == [True]


async def test_a_health_check_on_initialization(
    application: Application, config: ClientConfig, scripted_engine: Engine
) -> None:
    """S1.16, S1.18: one look at what is served, no generation."""
    assert get_llm_type(await application.start(config)) == "vllm"
    assert [request.path for request in scripted_engine.probes] == ["/v1/models"]
    assert not scripted_engine.requests


async def test_connections_are_pooled(application: Application, config: ClientConfig, scripted_engine: Engine) -> None:
    """S1.15: the check and ten calls go over one connection."""
    await application.start(config)
    for number in range(10):
        assert await application.ask(f"call {number}") == f"call {number}"
    assert scripted_engine.accepted == 1


async def test_failure_1_server_down_at_the_start(
    application: Application, config: ClientConfig, scripted_engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    """S1.33, S1.18: detected, logged in the document's words, and Ollama answers."""
    await scripted_engine.stop()
    assert type(await application.start(config)) is OurOllama
    assert "⚠ vLLM initialization failed: Connection refused" in caplog.messages
    assert await application.ask("still answering") == "still answering"


async def test_failure_1_server_down_later(
    application: Application, config: ClientConfig, scripted_engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    """S1.4: mid-life, per request: no crash; and vLLM answers again once it is back."""
    llm = await application.start(config)
    assert (await application.ask("one"), get_llm_type(llm)) == ("one", "vllm")
    await scripted_engine.stop()
    assert (await application.ask("two"), get_llm_type(llm)) == ("two", "ollama")
    assert any("vLLM failed" in message and "trying Ollama" in message for message in caplog.messages)
    await scripted_engine.start()
    assert (await application.ask("three"), get_llm_type(llm)) == ("three", "vllm")
    assert llm.counts.fallbacks == {"connect": 1}


async def test_failure_2_timeout(
    application: Application, config: ClientConfig, scripted_engine: Engine, ollama_double: OllamaDouble
) -> None:
    """S1.34, S1.14: within the time that is configured, not after three times of it; then the error, or Ollama (X4, X5)."""
    assert config.vllm.timeout == 90
    config.vllm.timeout, config.fallback = 1, "never"
    await application.start(config)
    scripted_engine.script = Script(silent=True)
    with pytest.raises(EngineTimeout) as raised:
        await application.ask("anyone?")
    assert isinstance(raised.value, TimeoutError)
    scripted_engine.script = Script()
    assert await application.ask("next request tries again") == "next request tries again"
    await application.llm.aclose()
    config.fallback = "any"
    await application.start(config)
    scripted_engine.script = Script(silent=True)
    assert await application.ask("and with a fallback") == "and with a fallback"
    assert len(ollama_double.requests) == 1


async def test_failure_2_three_attempts(
    application: Application, config: ClientConfig, scripted_engine: Engine
) -> None:
    """S1.13, S1.34: three attempts, then the exception; the next request begins anew."""
    config.fallback = "never"
    await application.start(config)
    scripted_engine.next.extend([Script(status=500), Script(status=500)])
    assert await application.ask("third time") == "third time"
    scripted_engine.next.extend([Script(status=500)] * 3)
    with pytest.raises(PenstockError, match="500"):
        await application.ask("not this time")
    assert await application.ask("again") == "again"
    assert len(scripted_engine.requests) == 7


@pytest.mark.parametrize(
    "broken",
    [Script(body="<html>proxy</html>", content_type="text/html"), Script(cut_json=40), Script(body='{"object": "x"}')],
    ids=["html", "half a body", "no choices"],
)
async def test_failure_3_invalid_response(
    application: Application, config: ClientConfig, scripted_engine: Engine, ollama_double: OllamaDouble, broken: Script
) -> None:
    """S1.35: validated, tried again, and Ollama if it persists."""
    await application.start(config)
    scripted_engine.next.append(broken)
    assert await application.ask("once") == "once"
    assert len(scripted_engine.requests) == 2
    scripted_engine.script = broken
    assert await application.ask("persistent") == "persistent"
    assert len(scripted_engine.requests) == 5
    assert len(ollama_double.requests) == 1


async def test_failure_4_model_not_loaded(
    application: Application, config: ClientConfig, caplog: pytest.LogCaptureFixture
) -> None:
    """S1.36, W31: fails the check, falls back at once, and the log names what is served instead."""
    config.vllm.model_name = "meta-llama/Meta-Llama-3.1-8B-Instruct"
    assert type(await application.start(config)) is OurOllama
    assert any("it serves m" in message for message in caplog.messages)
    assert await application.ask("meanwhile") == "meanwhile"


async def test_a_start_without_a_test_still_falls_back(
    application: Application, config: ClientConfig, scripted_engine: Engine
) -> None:
    """S1.23, W30: the start-up that the document shows cannot end in an exception while Ollama is there."""
    await scripted_engine.stop()
    llm = await application.start(config, test_connection=False)
    assert (get_llm_type(llm), await application.ask("Hello"), get_llm_type(llm)) == ("vllm", "Hello", "ollama")


async def test_what_the_logs_say(
    application: Application, config: ClientConfig, scripted_engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    """S1.37, S1.39: the choice, each fallback with its reason, and figures to track."""
    with caplog.at_level(logging.INFO):
        llm = await application.start(config)
        scripted_engine.script = Script(status=503, message="out of memory")
        await application.ask("hello")
    assert any(message.startswith("Using vLLM at") for message in caplog.messages)
    warned = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert ["out of memory" in message and "trying Ollama" in message for message in warned] == [True]
    counts = llm.counts
    assert (counts.calls, counts.answers, counts.retries, counts.fallbacks) == (1, 1, 2, {"5xx": 1})


async def test_embeddings_stay_where_they_were(guided: Gateway, ollama_double: OllamaDouble) -> None:
    """S1.42: the vector side keeps its own class, model and Ollama; the switch of the language model does not touch it."""

    def vectors() -> list[list[float]]:
        embeddings = OllamaEmbeddings(model="llama3.2", base_url=ollama_double.url)
        try:
            return embeddings.embed_documents(["a text", "another"])
        finally:
            assert embeddings._client is not None
            embeddings._client.close()  # type: ignore[no-untyped-call]

    before = await in_thread(vectors)
    config = ClientConfig()
    config.use_vllm, config.vllm.host = True, guided.url
    llm = await in_thread(lambda: create_llm(config))
    assert await in_thread(vectors) == before
    assert [request.path for request in ollama_double.requests] == ["/api/embed"] * 2
    await llm.aclose()


async def test_the_six_tests_as_a_program(guided: Gateway) -> None:
    """S1.41: `python tests/test_vllm_integration.py`, with the engines that the environment names; arguments choose tests."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *(str(PROGRAM), "-k", "basic_ollama"),
        env={**os.environ, "VLLM_HOST": guided.url, "OLLAMA_HOST": guided.url},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await asyncio.wait_for(process.communicate(), 50)
    assert process.returncode == 0, out.decode()
    assert "1 passed, 5 deselected" in out.decode()
