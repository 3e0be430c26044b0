"""A client that points at a gateway lets it do the falling back, and reads its headers."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.client.conftest import FAST, Ways
from tests.fakes.gateway import Gateway, StartGateway

from penstock.client.failures import ModelNotServed, WrongPath
from penstock.client.plain import ChatVLLM, OllamaClient, VLLMClient
from penstock.errors import EngineFault
from penstock.faults.engine import Engine
from penstock.faults.ollama import OllamaDouble
from penstock.faults.script import Script


async def started(gateway: StartGateway, engine: Engine, ollama: OllamaDouble, fallback: str = "any") -> Gateway:
    running = await gateway(
        {
            "backends": {"gpu": {"kind": "vllm", "url": engine.url}, "spare": {"kind": "ollama", "url": ollama.url}},
            "aliases": {
                "m": {
                    "fallback": fallback,
                    "targets": [
                        {"backends": ["gpu"], "model": "m"},
                        {"backends": ["spare"], "model": "llama3.2"},
                    ],
                }
            },
        }
    )
    await running.until("/ready", lambda page: page["status"] == "ready")
    return running


def client_of(kind: type[Any], running: Gateway, spare: OllamaDouble) -> Any:  # noqa: ANN401 - an instance of `kind`
    return kind("m", base_url=running.url, fallback=spare.url, fallback_model="llama3.2", **FAST)


async def test_who_answered(
    gateway: StartGateway, scripted_engine: Engine, ollama_double: OllamaDouble, both: tuple[Ways, Ways]
) -> None:
    """S3.22 at the gateway: the answer says which backend gave it and why; the client's own spare is never asked."""
    running = await started(gateway, scripted_engine, ollama_double)
    for number, ways in enumerate(both, start=1):
        client = client_of(ChatVLLM, running, ollama_double)
        answer = await ways.ask(client, "hello")
        assert (answer.source.gateway, answer.source.backend, answer.source.fallback) == (True, "gpu", "")
        scripted_engine.next.append(Script(status=500))
        answer = await ways.ask(client, "hello")
        assert (answer.text, answer.source.backend, answer.source.fallback) == ("hello", "spare", "5xx")
        assert client.counts.gateway_fallbacks == {"5xx": 1}
        assert client.counts.fallbacks == {}
        assert len(ollama_double.requests) == number


async def test_a_gateway_that_forbids_fallback_is_obeyed(
    gateway: StartGateway, scripted_engine: Engine, ollama_double: OllamaDouble, both: tuple[Ways, Ways]
) -> None:
    """X4: neither the gateway nor the client asks another model; the error is the gateway's."""
    running = await started(gateway, scripted_engine, ollama_double, fallback="never")
    scripted_engine.script = Script(status=500)
    clients = [client_of(VLLMClient, running, ollama_double) for _ in both]
    for ways, client in zip(both, clients, strict=True):
        with pytest.raises(EngineFault):
            await ways.ask(client, "hello")
        with pytest.raises(EngineFault):
            await ways.stream(client, "hello")
        await client.aclose()
    await running.stop()
    for ways, client in zip(both, clients, strict=True):
        with pytest.raises(EngineFault):  # and so when it is gone: what it forbids may be why it stands there
            await ways.ask(client, "hello")
        assert client.counts.fallbacks == {}
    assert not ollama_double.requests


async def test_whose_404(
    gateway: StartGateway, scripted_engine: Engine, ollama_double: OllamaDouble, both: tuple[Ways, Ways]
) -> None:
    """W31, X12: the gateway's own codes tell an unknown alias from an unknown path; H4: it asks vLLM's tokenizer."""
    running = await started(gateway, scripted_engine, ollama_double)
    talk = [("user", "word " * 3000), ("assistant", "yes"), ("user", "word " * 3000)]
    for ways in both:
        with pytest.raises(ModelNotServed) as caught:
            await ways.ask(VLLMClient("n", base_url=running.url), "hello")
        assert "m" in caught.value.served
        with pytest.raises(WrongPath):
            await ways.ask(VLLMClient("m", base_url=f"{running.url}/models"), "hello")
        assert await ways.check(VLLMClient("m", base_url=running.url))
        assert await ways.fit(ChatVLLM("m", base_url=running.url), talk) == talk[2:]


async def test_ollamas_api_through_a_gateway(
    gateway: StartGateway, scripted_engine: Engine, ollama_double: OllamaDouble, both: tuple[Ways, Ways]
) -> None:
    """Ollama's options survive to an Ollama behind it; what vLLM has no word for is named."""
    running = await started(gateway, scripted_engine, ollama_double)
    for ways in both:
        client = OllamaClient("m", base_url=running.url, num_ctx=100_000, mirostat=1, **FAST)  # type: ignore[arg-type]
        assert await ways.ask(client, "hello") == "hello"
        assert client.engines.answered is not None
        assert set(client.engines.answered.dropped) == {"num_ctx", "mirostat"}
        scripted_engine.next.append(Script(status=500))
        assert await ways.stream(client, "a b") == ["a", " b"]
        assert json.loads(ollama_double.requests[-1].body)["options"] == {"num_ctx": 100_000, "mirostat": 1}
