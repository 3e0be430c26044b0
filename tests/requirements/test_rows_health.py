"""Acceptance rows about health, fallback and figures, each shown once from outside."""

from __future__ import annotations

import json
import socket
from typing import Any

from tests.fakes.gateway import Gateway, StartGateway
from tests.fakes.raw import Raw, once
from tests.requirements.test_rows_serving import CHAT, one, two

from penstock.faults.engine import Engine
from penstock.faults.ollama import OllamaDouble
from penstock.faults.script import Script

ASKED = {"model": "llama3.2", "stream": False, **CHAT}


def free_port() -> int:
    """A port that nobody has at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def lines(running: Gateway) -> list[dict[str, Any]]:
    """Its log, line by line."""
    return [json.loads(line) for line in running.log.splitlines() if line.startswith("{")]


async def test_a_server_that_is_down(
    gateway: StartGateway, scripted_engine: Engine, ollama_double: OllamaDouble
) -> None:
    """S1.33: the refused connection is noticed, logged with its cause, and Ollama answers."""
    config = two(scripted_engine, ollama_double)
    await scripted_engine.stop()
    running = await gateway(config)
    answer = await once(running.url, "/v1/chat/completions", ASKED)
    assert answer.status == 200
    assert answer.header("x-penstock-backend") == "spare"
    said = [line["event"] for line in lines(running) if line.get("event", "").startswith("vLLM failed:")]
    assert said
    assert "refused" in said[0].lower()
    assert said[0].endswith("trying Ollama")


async def test_a_model_that_is_not_loaded(
    gateway: StartGateway, scripted_engine: Engine, ollama_double: OllamaDouble
) -> None:
    """S1.36: an engine that is up without the model is no ready engine; Ollama answers at once, and the log says why."""
    scripted_engine.models.clear()
    running = await gateway(two(scripted_engine, ollama_double))
    answer = await once(running.url, "/v1/chat/completions", ASKED)
    assert answer.header("x-penstock-backend") == "spare"
    assert not scripted_engine.requests
    assert (await once(running.url, "/ready")).json()["status"] == "degraded"
    assert any(
        line.get("event") == "vLLM failed: it is up and serves no model, trying Ollama" for line in lines(running)
    )


async def test_the_log_tells_fallback_figures_and_causes(
    gateway: StartGateway, scripted_engine: Engine, ollama_double: OllamaDouble
) -> None:
    """S1.37: clear fallback warnings, performance figures, error details."""
    running = await gateway(two(scripted_engine, ollama_double))
    scripted_engine.script = Script(status=500, message="EngineCore encountered an issue")
    await once(running.url, "/api/chat", {**ASKED, "stream": True})
    ollama_double.script = Script(status=500, message="llama runner terminated")
    await once(running.url, "/api/chat", ASKED)
    # the request lines are written by a thread of their own, the last ones when the process ends
    await running.stop()
    logged = lines(running)
    warning = next(line for line in logged if line.get("event", "").startswith("vLLM failed:"))
    assert warning["level"] == "warning"
    assert "EngineCore encountered an issue" in warning["event"]
    answered, failed = [line for line in logged if "path" in line]
    assert answered["backend"] == "spare"
    assert answered["fallback"] == "5xx"
    assert answered["seconds"] > 0
    assert answered["first_token"] > 0
    assert answered["prompt_tokens"] > 0
    assert answered["completion_tokens"] == 3
    assert failed["status"] == 502
    assert "llama runner terminated" in failed["error"]


async def test_the_documents_pages(gateway: StartGateway, scripted_engine: Engine) -> None:
    """S3.23, W6: `/health` and `/metrics` on the port of the API, and a `/stats` that tells active requests."""
    running = await gateway(one(scripted_engine))
    assert (await once(running.url, "/health")).status == 200
    assert b"penstock_requests" in (await once(running.url, "/metrics")).body
    gate = scripted_engine.hold(before=0)
    async with Raw(running.url) as raw:
        raw.ask("/v1/chat/completions", ASKED)
        await gate.reached()
        page = (await once(running.url, "/stats")).json()
        assert page["active_requests"] == 1
        assert page["backends"]["gpu"]["active"] == 1
        gate.open()
        assert (await raw.answer()).status == 200


async def test_metrics_on_a_second_port(gateway: StartGateway, scripted_engine: Engine) -> None:
    """X1: figures may have an address of their own, which answers nothing that asks a model."""
    port = free_port()
    running = await gateway(one(scripted_engine, listen_metrics=[f"127.0.0.1:{port}"]))
    beside = f"http://127.0.0.1:{port}"
    assert b"penstock_requests" in (await once(beside, "/metrics")).body
    assert (await once(beside, "/health")).json() == {"status": "healthy", "model": "llama3.2"}
    assert (await once(beside, "/v1/chat/completions", ASKED)).status == 404
    assert (await once(running.url, "/metrics")).status == 200


async def test_health_is_the_documents_json(gateway: StartGateway, scripted_engine: Engine) -> None:
    """X7, S2.20: vLLM's own is empty; ours says which model, and 503 when it cannot be served."""
    running = await gateway(one(scripted_engine))
    answer = await once(running.url, "/health")
    assert (answer.status, answer.json()) == (200, {"status": "healthy", "model": "llama3.2"})
    listed = (await once(running.url, "/v1/models")).json()
    assert [card["id"] for card in listed["data"]] == ["llama3.2"]
    scripted_engine.models.clear()
    page = await running.until("/health", lambda page: page["status"] != "healthy")
    assert page["model"] == "llama3.2"
    assert page["reasons"] == {"gpu": "it is up and serves no model"}
    assert (await once(running.url, "/health")).status == 503


async def test_the_fallbacks_own_state(
    gateway: StartGateway, scripted_engine: Engine, ollama_double: OllamaDouble
) -> None:
    """X14: cold, warm, or cannot load, before anybody needs it."""
    ollama_double.loadable = False
    running = await gateway(two(scripted_engine, ollama_double))

    def spare(page: Any) -> str:  # noqa: ANN401 - a page of JSON
        return str(page["aliases"]["llama3.2"]["targets"][1]["model_state"])

    assert spare((await once(running.url, "/ready")).json()) == "cold"
    scripted_engine.script = Script(status=500)
    refused = await once(running.url, "/v1/chat/completions", ASKED)
    assert refused.status == 502
    assert "more system memory" in refused.error
    assert spare((await once(running.url, "/ready")).json()) == "cannot load"
    ollama_double.loadable = True
    assert (await once(ollama_double.url, "/api/generate", {"model": "llama3.2"})).status == 200
    await running.until("/ready", lambda page: spare(page) == "warm")


async def test_alive_is_not_ready(gateway: StartGateway, scripted_engine: Engine) -> None:
    """H5: while the model is not there the process is alive, and says that it cannot serve."""
    model = scripted_engine.models.pop("m")
    running = await gateway(one(scripted_engine))
    assert (await once(running.url, "/livez")).status == 200
    ready = await once(running.url, "/ready")
    assert (ready.status, ready.json()["status"]) == (503, "unavailable")
    assert (await once(running.url, "/health")).status == 503
    scripted_engine.models["m"] = model
    await running.until("/ready", lambda page: page["status"] == "ready")
    assert (await once(running.url, "/health")).status == 200
