"""`penstock compare` and `penstock bench` against the real vLLM: what they read of it is what it says of itself."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest
from tests.cli.console import Done
from tests.cli.inside import inside
from tests.engines.asking import get
from tests.engines.servers import GUIDE, VllmServer
from tests.engines_fixtures import embedded_engine, guide_pairs
from tests.fakes.gateway import StartGateway


@pytest.fixture
def prompts(tmp_path: Path) -> str:
    file = tmp_path / "prompts.txt"
    file.write_text("\n".join(pair.question for pair in guide_pairs()[:24]), encoding="utf-8")
    return str(file)


def generated(server: VllmServer) -> float:
    """Tokens that vLLM has made since its start, by its own counter."""
    page = get(server.port, "/metrics").body.decode()
    return sum(map(float, re.findall(r"^vllm:generation_tokens_total\{[^}]*\} (\S+)", page, re.MULTILINE)))


async def bench(url: str, prompts: str, *options: str) -> Done:
    done = await inside("bench", url, "--prompts", prompts, "--max-tokens", "160", "--ignore-eos", *options, "--json")
    assert done.code == 0, done.err
    return done


async def test_tokens_queue_and_cache_under_load(vllm_generate: VllmServer, prompts: str) -> None:
    """W14, S0.1, S0.3, S0.4: level after level, vLLM's own counts, with its running requests and its cache beside them."""
    before = await asyncio.to_thread(generated, vllm_generate)
    options = ("--model", GUIDE, "--concurrency", "1,8", "--num-prompts", "16")
    data = (await bench(vllm_generate.url, prompts, *options)).data
    after = await asyncio.to_thread(generated, vllm_generate)
    assert data["endpoint"]["name"] == "vLLM"
    assert data["endpoint"]["engine"].startswith("vLLM ")
    for level in data["levels"]:
        told = level["summary"]
        assert (told["answered"], told["completion_tokens"]) == (16, 16 * 160)
        assert level["kv_use"]["highest"] > 0
    one, eight = data["levels"]
    assert one["running"]["highest"] == 1
    assert 1 < eight["running"]["highest"] <= 8
    # what was warmed up with is in vLLM's counter too
    assert after - before == 2 * 16 * 160 + (1 + 8) * 160


async def test_more_than_it_takes_at_once_waits(vllm_generate: VllmServer, prompts: str) -> None:
    """S0.3: an open loop that comes all at once; nothing fails, and the last ones waited for the first."""
    options = ("--model", GUIDE, "--rate", "inf", "--num-prompts", "24")
    (level,) = (await bench(vllm_generate.url, prompts, *options)).data["levels"]
    assert (level["summary"]["answered"], level["summary"]["faults"]) == (24, {})
    assert level["running"]["highest"] + level["waiting"]["highest"] > 8


async def test_behind_the_gateway_with_its_own_figures_passed_on(
    vllm_generate: VllmServer, gateway: StartGateway, prompts: str
) -> None:
    """S0.4: vLLM's cache as the gateway re-exports it."""
    running = await gateway(
        {
            "backends": {"gpu": {"kind": "vllm", "url": vllm_generate.url, "probe": "200ms"}},
            "aliases": {"assistant": {"targets": [{"backends": ["gpu"], "model": GUIDE}]}},
        }
    )
    await running.until("/ready", lambda page: page["status"] == "ready")
    data = (await bench(running.url, prompts, "--concurrency", "4", "--num-prompts", "16")).data
    (level,) = data["levels"]
    assert data["endpoint"]["name"] == "Penstock"
    assert level["summary"]["completion_tokens"] == 16 * 160
    assert level["kv_use"]["highest"] > 0


async def test_the_embedded_engine_and_vllm_side_by_side(vllm_generate: VllmServer, prompts: str) -> None:
    """S1.30, S3.12: two real engines with the same model, and whatever comes of it is told with its interval."""
    with embedded_engine("--model", "guide") as embedded:
        done = await inside(
            "compare", embedded.url, vllm_generate.url, "--prompts", prompts, "--model-b", GUIDE,
            "--num-prompts", "24", "--max-tokens", "32", "--json",
        )  # fmt: skip
    assert done.code == 0, done.err
    data = done.data
    assert (data["a"]["name"], data["b"]["name"]) == ("llama.cpp", "vLLM")
    (level,) = data["levels"]
    assert (level["pairs"], level["a"]["answered"], level["b"]["answered"]) == (24, 24, 24)
    lengths = [[row["completion_tokens"] for row in data["rows"] if row["side"] == side] for side in "ab"]
    assert sum(a == b for a, b in zip(*lengths, strict=True)) >= 22  # greedy answers of one model, over two engines
    for one in level["speedups"]:
        assert one["low"] <= one["ratio"] <= one["high"]
        assert one["shown"] is not (one["low"] <= 1 <= one["high"])
