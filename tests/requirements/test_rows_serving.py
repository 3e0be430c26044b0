"""Acceptance rows about what is served and how, each shown once from outside: a gateway process, engines on real sockets."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import openai
from tests.fakes.gateway import Config, StartGateway
from tests.fakes.raw import Raw, once
from typer.testing import CliRunner

from penstock.cli import app
from penstock.faults.condition import Gauges, Model
from penstock.faults.engine import Engine
from penstock.faults.ollama import OllamaDouble
from penstock.faults.script import Script, ToolUse
from penstock.gateway import prefix

CHAT: dict[str, Any] = {"messages": [{"role": "user", "content": "hello wide world"}]}
WEATHER = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}


def one(engine: Engine, alias: str = "llama3.2", model: str = "m", **more: object) -> Config:
    """One vLLM behind one alias."""
    return {
        "backends": {"gpu": {"kind": "vllm", "url": engine.url, "probe": "100ms"}},
        "aliases": {alias: {"targets": [{"backends": ["gpu"], "model": model}]}},
        **more,
    }


def two(engine: Engine, ollama: OllamaDouble) -> Config:
    """vLLM, and Ollama behind it."""
    return {
        "backends": {
            "gpu": {"kind": "vllm", "url": engine.url, "probe": "100ms"},
            "spare": {"kind": "ollama", "url": ollama.url, "probe": "100ms"},
        },
        "aliases": {
            "llama3.2": {"targets": [{"backends": ["gpu"], "model": "m"}, {"backends": ["spare"], "model": "llama3.2"}]}
        },
    }


async def test_an_adapter_is_a_model_name(gateway: StartGateway, scripted_engine: Engine) -> None:
    """S0.7: a fine-tuned artifact is served to an application that changes nothing but the model's name, if that."""
    scripted_engine.models["m-secops"] = Model("m-secops", parent="m")
    config = one(scripted_engine)
    config["aliases"]["secops"] = {"targets": [{"backends": ["gpu"], "model": "m-secops"}]}
    running = await gateway(config)
    listed = {card["id"]: card for card in (await once(running.url, "/v1/models")).json()["data"]}
    assert listed["secops"]["parent"] == "m"
    assert listed["llama3.2"]["parent"] is None
    answer = await once(running.url, "/v1/chat/completions", {"model": "secops", **CHAT})
    assert answer.json()["model"] == "m-secops"
    assert json.loads(scripted_engine.requests[-1].body)["model"] == "m-secops"


async def test_the_first_token_does_not_wait_for_the_second(gateway: StartGateway, scripted_engine: Engine) -> None:
    """S0.26: immediate feedback during long runs; on both faces."""
    running = await gateway(one(scripted_engine))
    for path in ("/v1/chat/completions", "/api/chat"):
        gate = scripted_engine.hold(before=1)
        async with Raw(running.url) as raw:
            raw.ask(path, {"model": "llama3.2", "stream": True, **CHAT})
            await gate.reached()
            await raw.until(b"hello")
            assert b"world" not in raw.received
            gate.open()
            assert b"world" in (await raw.answer()).body
        scripted_engine.gates.clear()


async def test_the_documents_two_routes(gateway: StartGateway, scripted_engine: Engine) -> None:
    """S2.19: `/v1/completions` and `/v1/chat/completions`, whole and streamed."""
    running = await gateway(one(scripted_engine))
    for path, asked in (("/v1/completions", {"prompt": "hello wide world"}), ("/v1/chat/completions", CHAT)):
        whole = await once(running.url, path, {"model": "llama3.2", **asked})
        assert whole.status == 200
        assert "hello wide world" in whole.body.decode()
        streamed = await once(running.url, path, {"model": "llama3.2", "stream": True, **asked})
        assert streamed.events[-1] == b"data: [DONE]"


async def test_three_services_on_one_server(
    gateway: StartGateway, scripted_engine: Engine, ollama_double: OllamaDouble
) -> None:
    """S3.2: RAG, notes and graph are answered side by side by vLLM, and by Ollama once that is gone."""
    running = await gateway(two(scripted_engine, ollama_double))
    gate = scripted_engine.hold(before=0)
    services = [
        asyncio.create_task(once(running.url, path, {"model": "llama3.2", "stream": False, **asked}))
        for path, asked in (
            ("/v1/chat/completions", CHAT),
            ("/api/chat", CHAT),
            ("/api/generate", {"prompt": "hello wide world"}),
        )
    ]
    await scripted_engine.until(lambda: scripted_engine.running == 3, "three requests at once")
    gate.open()
    answers = await asyncio.gather(*services)
    assert [answer.header("x-penstock-backend") for answer in answers] == ["gpu"] * 3
    await scripted_engine.stop()
    backup = await once(running.url, "/api/chat", {"model": "llama3.2", "stream": False, **CHAT})
    assert backup.header("x-penstock-backend") == "spare"
    assert backup.json()["message"]["content"]


async def test_the_documents_client_word_for_word(gateway: StartGateway, scripted_engine: Engine) -> None:
    """S3.17: `api_key="not-needed"`, `model="llama3.2"`, `stream=True`."""
    running = await gateway(one(scripted_engine))
    async with openai.AsyncOpenAI(api_key="not-needed", base_url=f"{running.url}/v1") as client:
        stream = await client.chat.completions.create(
            model="llama3.2", messages=[{"role": "user", "content": "hello wide world"}], stream=True
        )
        said = [chunk.choices[0].delta.content or "" async for chunk in stream]
    assert "".join(said) == "hello wide world"
    assert len(said) > 1


async def test_tool_calls_of_whichever_parser(gateway: StartGateway, scripted_engine: Engine) -> None:
    """S4.19: what the engine's tool parser made of the model's words arrives whole in both protocols."""
    running = await gateway(one(scripted_engine))
    scripted_engine.script = Script(tools=(ToolUse(name="weather", arguments='{"city": "Oslo"}'),))
    asked = {"model": "llama3.2", "tools": [WEATHER], "stream": False, **CHAT}
    through_openai = await once(running.url, "/v1/chat/completions", asked)
    assert json.loads(scripted_engine.requests[-1].body)["tools"] == [WEATHER]
    call = through_openai.json()["choices"][0]["message"]["tool_calls"][0]["function"]
    assert (call["name"], json.loads(call["arguments"])) == ("weather", {"city": "Oslo"})
    through_ollama = await once(running.url, "/api/chat", asked)
    call = through_ollama.json()["message"]["tool_calls"][0]["function"]
    assert (call["name"], call["arguments"]) == ("weather", {"city": "Oslo"})


async def test_a_prompt_gets_the_chat_template_unless_it_is_raw(gateway: StartGateway, scripted_engine: Engine) -> None:
    """X6: an instruct model is asked through its template by default; `raw` asks it as it stands."""
    running = await gateway(one(scripted_engine))
    asked = {"model": "llama3.2", "prompt": "hello", "stream": False, "options": {"num_predict": 3}}
    assert (await once(running.url, "/api/generate", asked)).status == 200
    assert scripted_engine.requests[-1].path == "/v1/chat/completions"
    assert (await once(running.url, "/api/generate", {**asked, "raw": True})).status == 200
    assert scripted_engine.requests[-1].path == "/v1/completions"


async def test_one_name_for_users_another_for_each_engine(
    gateway: StartGateway, scripted_engine: Engine, ollama_double: OllamaDouble
) -> None:
    """W4, X12: `llama3.2:latest` is a tag of Ollama's; each engine is asked for its own name, and says it."""
    running = await gateway(two(scripted_engine, ollama_double))
    asked = {"model": "llama3.2:latest", "stream": False, **CHAT}
    assert (await once(running.url, "/api/chat", asked)).json()["model"] == "m"
    assert json.loads(scripted_engine.requests[-1].body)["model"] == "m"
    scripted_engine.script = Script(status=500)
    assert (await once(running.url, "/api/chat", asked)).json()["model"] == "llama3.2"
    assert json.loads(ollama_double.requests[-1].body)["model"] == "llama3.2"


async def test_a_conversation_stays_with_its_replica(gateway: StartGateway, scripted_engine: Engine) -> None:
    """X15: affinity by tenant and conversation, whichever of the usual names carries it."""
    async with Engine(["m"]) as other:
        config = one(scripted_engine)
        config["backends"]["gpu-2"] = {"kind": "vllm", "url": other.url}
        config["aliases"]["llama3.2"]["targets"][0]["backends"] = ["gpu", "gpu-2"]
        running = await gateway(config)
        for named in ("x-session-id: s%d", "x-openwebui-chat-id: c%d", "user"):
            seen: set[str] = set()
            for number in range(8):
                fields = {"user": f"u{number}"} if named == "user" else {}
                heads = () if named == "user" else (named % number,)
                asked = {"model": "llama3.2", **CHAT, **fields}
                answers = [await once(running.url, "/v1/chat/completions", asked, *heads) for _ in range(3)]
                backends = {answer.header("x-penstock-backend") or "" for answer in answers}
                assert len(backends) == 1, named
                seen |= backends
            assert seen == {"gpu", "gpu-2"}, named
    first, second = (prefix.prompt(tenant, "llama3.2", "same", b"") for tenant in ("tenant-a", "tenant-b"))
    assert first.session != second.session


async def test_engine_figures_of_both_generations(gateway: StartGateway, scripted_engine: Engine) -> None:
    """S4.15: queue, running and KV use of the engine under names of our own, whichever names the engine has for them."""
    running = await gateway(one(scripted_engine))
    for old, use in ((False, 0.25), (True, 0.75)):
        scripted_engine.gauges = Gauges(running=3, waiting=2, cache=use, old=old)

        def shown(page: Any, use: float = use) -> bool:  # noqa: ANN401 - a page of JSON
            return bool(page["backends"]["gpu"]["kv_cache_usage"] == use)

        page = await running.until("/stats", shown)
        assert (page["backends"]["gpu"]["running"], page["backends"]["gpu"]["waiting"]) == (3, 2)
        text = (await once(running.url, "/metrics")).body.decode()
        assert 'penstock_engine_requests_running{backend="gpu"} 3.0' in text
        assert 'penstock_engine_requests_waiting{backend="gpu"} 2.0' in text
        assert f'penstock_engine_kv_cache_usage_ratio{{backend="gpu"}} {use}' in text
        assert f"tensafe_vllm_kv_cache_utilization {use}" in text
        assert "penstock_time_to_first_token_seconds" in text
    assert "vllm:" not in text


def test_the_verbs_that_exist() -> None:
    """W2: vLLM has no verb `openai`, and ours is called `serve` as well."""
    runner = CliRunner()
    assert runner.invoke(app, ["serve", "--help"]).exit_code == 0
    assert runner.invoke(app, ["openai"]).exit_code == 2
