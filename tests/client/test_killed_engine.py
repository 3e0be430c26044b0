"""The engine is killed and restarted three times under 500 calls."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from prometheus_client.parser import text_string_to_metric_families
from tests.client.killing import EngineProcess, Siege, judge
from tests.fakes.gateway import StartGateway
from tests.fakes.raw import once

from penstock.client.plain import VLLMClient
from penstock.faults.ollama import OllamaDouble


def question(number: int) -> str:
    return f"question {number} runs through the penstock to turbine {number}"


@pytest_asyncio.fixture
async def engine() -> AsyncIterator[EngineProcess]:
    engine = EngineProcess(gap=0.002)
    await engine.start()
    yield engine
    await engine.kill()


@pytest_asyncio.fixture
async def client(engine: EngineProcess, ollama_double: OllamaDouble) -> AsyncIterator[VLLMClient]:
    client = VLLMClient(
        "m", base_url=engine.url, fallback=ollama_double.url, fallback_model="llama3.2", retry_delay=0.02, timeout=60
    )
    yield client
    await client.aclose()


async def test_with_ollama_behind_it(
    engine: EngineProcess, client: VLLMClient, ollama_double: OllamaDouble, caplog: pytest.LogCaptureFixture
) -> None:
    """S1.4, S1.35, S1.37, S3.22: every whole answer comes, and the count of fallbacks is what Ollama and the log say."""
    siege = Siege(client, engine, question, lambda: client.counts.fallback_count)
    await siege.run()
    judge(siege, question, fallback=True)
    counts = client.counts
    assert counts.fallback_count >= 9
    assert counts.fallback_count == len(ollama_double.requests)
    assert counts.fallback_count == sum("trying Ollama" in line for line in caplog.messages)
    assert counts.calls == 500
    assert counts.failures == sum(one.error is not None for one in siege.outcomes)


async def test_where_fallback_is_forbidden(engine: EngineProcess, ollama_double: OllamaDouble) -> None:
    """X4: errors while the engine is away, and no answer of another model."""
    client = VLLMClient(
        "m",
        base_url=engine.url,
        fallback=ollama_double.url,
        fallback_model="llama3.2",
        fallback_policy="never",
        retry_attempts=2,
        retry_delay=0.02,
        timeout=60,
    )
    siege = Siege(client, engine, question, lambda: client.counts.failures)
    await siege.run()
    judge(siege, question, fallback=False)
    assert client.counts.failures == sum(one.error is not None for one in siege.outcomes) >= 9
    assert client.counts.fallback_count == len(ollama_double.requests) == 0
    await client.aclose()


async def test_through_a_gateway(engine: EngineProcess, ollama_double: OllamaDouble, gateway: StartGateway) -> None:
    """The gateway falls back and the client only reads its headers: its count is the gateway's own metric."""
    running = await gateway(
        {
            "backends": {
                "gpu": {"kind": "vllm", "url": engine.url},
                "spare": {"kind": "ollama", "url": ollama_double.url},
            },
            "aliases": {
                "m": {
                    "fallback": "any",
                    "targets": [
                        {"backends": ["gpu"], "model": "m"},
                        {"backends": ["spare"], "model": "llama3.2"},
                    ],
                }
            },
        }
    )
    await running.until("/ready", lambda page: page["status"] == "ready")
    client = VLLMClient(
        "m", base_url=running.url, fallback=ollama_double.url, fallback_model="llama3.2", retry_delay=0.02, timeout=60
    )
    siege = Siege(client, engine, question, lambda: sum(client.counts.gateway_fallbacks.values()))
    await siege.run()
    judge(siege, question, fallback=True)
    counts = client.counts
    assert counts.fallback_count == 0
    text = (await once(running.url, "/metrics")).body.decode()
    metric = {
        sample.labels["reason"]: int(sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "penstock_fallback_total"
    }
    assert counts.gateway_fallbacks == metric
    assert sum(metric.values()) == len(ollama_double.requests) >= 9
    await client.aclose()
