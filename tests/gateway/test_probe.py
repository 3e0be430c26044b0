"""What backends say of themselves, asked of servers that speak their wire."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes.openai import openai_engine
from tests.fakes.raw import once
from tests.gateway.test_discover import saying

from penstock.errors import BrokenAnswer, EngineFault, EngineRefused, EngineTimeout
from penstock.faults import condition
from penstock.faults.engine import Engine
from penstock.faults.ollama import OllamaDouble
from penstock.faults.ollama_shapes import OllamaModel
from penstock.gateway import probe
from penstock.gateway.probe import PROBES, Load, Sighting
from penstock.gateway.upstream import Origin
from penstock.types import Kind

LIMIT = 20.0


async def look(kind: Kind, url: str, known: Sighting | None = None) -> Sighting:
    origin = Origin(url, connect_timeout=LIMIT)
    try:
        return await PROBES[kind](origin, b"", LIMIT, known)
    finally:
        origin.close()


@pytest.mark.parametrize("old", [False, True])
async def test_vllm_tells_models_routes_version_and_load(old: bool) -> None:  # noqa: FBT001 - both generations
    async with Engine([condition.Model("m", window=8192), condition.Model("lora", parent="m")]) as engine:
        engine.gauges = condition.Gauges(running=3, waiting=2, cache=0.5, old=old)
        seen = await look(Kind.VLLM, engine.url)
        assert {name: (model.window, model.parent) for name, model in seen.models.items()} == {
            "m": (8192, None),
            "lora": (4096, "m"),
        }
        assert seen.load == Load(running=3.0, waiting=2.0, kv_use=0.5, asleep=False, read=0.0)
        assert seen.routes is not None
        assert "/v1/chat/completions" in seen.routes
        assert seen.version


def test_the_room_of_a_cache_and_what_was_read_since_it_began() -> None:
    info = b'vllm:cache_config_info{block_size="16",engine="%d",kv_cache_size_tokens="%b",num_gpu_blocks="9"} 1.0\n'
    told = info % (0, b"131072") + info % (1, b"100000") + b'vllm:prompt_tokens_total{engine="0"} 5.0\n'
    assert probe.vllm_load(told) == Load(room=100_000, read=5.0)
    assert probe.vllm_load(info % (0, b"None")) == Load()


async def test_what_does_not_change_is_asked_once() -> None:
    async with Engine(["m"]) as engine:
        first = await look(Kind.VLLM, engine.url)
        engine.gauges = condition.Gauges(waiting=9)
        second = await look(Kind.VLLM, engine.url, first)
        assert (second.routes, second.version) == (first.routes, first.version)
        assert second.load.waiting == 9


async def test_a_stranger_tells_its_models_alone() -> None:
    async with openai_engine() as engine:
        seen = await look(Kind.OPENAI, engine.url)
        assert (list(seen.models), seen.routes, seen.load) == (["gpt-test"], None, Load())
        # The same server, taken for a vLLM: what it does not tell is unknown, not an error.
        assert (await look(Kind.VLLM, engine.url)).load == Load()


async def test_ollama_tells_its_library_and_what_is_in_memory() -> None:
    big = OllamaModel(name="big:latest", window=131072, width=4096, capabilities=("completion", "thinking"))
    async with OllamaDouble(["llama3.2", big]) as double:
        seen = await look(Kind.OLLAMA, double.url)
        assert set(seen.models) == {"llama3.2:latest", "big:latest"}
        model = seen.models["big:latest"]
        assert (model.window, model.embedding_length, model.warm) == (131072, 4096, False)
        assert model.capabilities == ("completion", "thinking")
        assert (model.family, model.parameters, model.quantization) == ("llama", "8.0B", "Q4_0")
        assert (model.parameter_count, model.digest) == (8030261248, big.digest)
        assert seen.version == "0.12.0"
        await once(double.url, "/api/generate", {"model": "big"})
        again = await look(Kind.OLLAMA, double.url, seen)
        assert {name: one.warm for name, one in again.models.items()} == {"llama3.2:latest": False, "big:latest": True}


async def test_a_model_that_was_replaced_is_looked_at_anew() -> None:
    async with OllamaDouble(["llama3.2"]) as double:
        seen = await look(Kind.OLLAMA, double.url)
        double.models["other:1b"] = OllamaModel(name="other:1b", window=99)
        del double.models["llama3.2:latest"]
        again = await look(Kind.OLLAMA, double.url, seen)
        assert {name: model.window for name, model in again.models.items()} == {"other:1b": 99}


def answer(body: bytes, status: int = 200) -> bytes:
    return b"HTTP/1.1 %d X\r\ncontent-length: %d\r\n\r\n" % (status, len(body)) + body


@pytest.mark.parametrize(
    ("wire", "kind", "said"),
    [
        (answer(b"<html>"), BrokenAnswer, "/v1/models"),
        (answer(b'{"data":5}'), BrokenAnswer, "/v1/models"),
        (answer(b'{"data":[{"id":"\xff"}]}'), BrokenAnswer, "/v1/models"),
        (answer(b"no", 401), EngineRefused, "it answered 401"),
        (answer(b"x" * (probe.LIMIT + 1)), BrokenAnswer, "passes"),
        (b"", EngineFault, "before it answered"),
    ],
)
async def test_a_look_that_finds_nothing_says_why(wire: bytes, kind: type[EngineFault], said: str) -> None:
    async with saying(wire) as url:
        with pytest.raises(kind) as error:
            await look(Kind.OPENAI, url)
    assert said in error.value.message


async def test_a_silent_backend_costs_the_limit_and_no_connection() -> None:
    async with saying(b"", hang=True) as url:
        origin = Origin(url, connect_timeout=LIMIT)
        with pytest.raises(EngineTimeout, match=r"no answer to /v1/models within 0\.05 s"):
            await probe.get(origin, "/v1/models", b"", 0.05)
        await asyncio.sleep(0)
        origin.close()


async def test_an_empty_library_is_an_answer() -> None:
    async with OllamaDouble([]) as double:
        assert (await look(Kind.OLLAMA, double.url)).models == {}


def test_gauges_of_several_engines_add_up() -> None:
    text = b"""# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="m"} 2.0
vllm:num_requests_running{engine="1",model_name="m"} 3
vllm:num_requests_waiting{engine="0"} 1e1
vllm:kv_cache_usage_perc{engine="0"} 2.5e-01
vllm:kv_cache_usage_perc{engine="1"} 0.75
vllm:num_requests_running_total 99.0
"""
    assert probe.vllm_load(text) == Load(running=5.0, waiting=10.0, kv_use=0.75)


@pytest.mark.parametrize("value", [b"NaN", b"+Inf", b"1.2.3", b"-", b"", b"e5"])
def test_a_gauge_that_is_no_number_ends_nothing(value: bytes) -> None:
    assert probe.vllm_load(b"vllm:num_requests_running " + value + b"\n").waiting == 0


@given(st.lists(st.sampled_from([b"vllm:num_requests_running", b"{", b"}", b" ", b"\n", b"1", b".", b"e", b"-", b'"'])))
@settings(max_examples=100)
def test_any_page_is_a_load(parts: list[bytes]) -> None:
    assert probe.vllm_load(b"".join(parts)).running >= 0
