"""`penstock bench`: closed and open loops, and the engine's own figures beside them."""

from __future__ import annotations

import asyncio
import json
import re
import signal
from pathlib import Path
from typing import Any

import pytest
import trustme
from tests.cli.console import LIMIT, Done, started
from tests.cli.inside import inside
from tests.fakes.gateway import StartGateway

from penstock.faults.condition import Gauges
from penstock.faults.engine import Engine
from penstock.faults.ollama import OllamaDouble
from penstock.faults.script import Script


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "prompts.txt").write_text("one\ntwo words\nthree more words\n", encoding="utf-8")
    return tmp_path


async def bench(folder: Path, url: str, *options: str) -> Done:
    return await inside("bench", url, "--prompts", str(folder / "prompts.txt"), *options)


def levels(done: Done) -> list[Any]:
    assert done.code == 0, done.err
    return list(done.data["levels"])


async def test_the_documents_load_test_in_the_form_that_exists(folder: Path, scripted_engine: Engine) -> None:
    """W14, S3.24: --num-prompts, --max-concurrency and --request-rate, as `vllm bench serve` spells them."""
    scripted_engine.script = Script(count=8)
    (level,) = levels(
        await bench(folder, scripted_engine.url, "--model", "m", "--num-prompts", "40", "--max-concurrency", "10", "--json")
    )  # fmt: skip
    assert level["level"] == {"concurrency": 10, "rate": None}
    told = level["summary"]
    assert (told["requests"], told["answered"], told["completion_tokens"]) == (40, 40, 320)
    (level,) = levels(
        await bench(folder, scripted_engine.url, "--num-prompts", "20", "--request-rate", "200", "--json")
    )
    assert level["level"] == {"concurrency": None, "rate": 200.0}
    assert level["summary"]["late"]["count"] == 20


@pytest.mark.parametrize("old", [True, False])
async def test_queue_and_cache_stand_beside_the_tokens(
    folder: Path,
    scripted_engine: Engine,
    old: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    """S0.1, S0.3, S0.4: level after level, in either generation of vLLM's names."""
    scripted_engine.script = Script(count=6, gap=0.02)
    scripted_engine.gauges = Gauges(running=9, waiting=3, cache=0.42, old=old)
    done = await bench(
        folder, scripted_engine.url, "--concurrency", "1,4", "--seconds", "0.6", "--html", str(folder / "page.html")
    )
    assert done.code == 0, done.err
    lines = done.out.split("\n\n")[1].splitlines()
    assert lines[0].split("  ")[0] == "load"
    assert [line.split()[4:8] for line in lines[1:]] == [["9", "3", "42.0", "%"]] * 2
    assert f"the highest seen at {scripted_engine.url}/metrics." in done.out
    assert "Use of the KV cache" in (folder / "page.html").read_text(encoding="utf-8")


async def test_a_closed_loop_keeps_so_many_under_way(folder: Path, scripted_engine: Engine) -> None:
    """And no more: the third waits until one of two is answered."""
    hold = scripted_engine.hold(before=0)
    task = asyncio.create_task(bench(folder, scripted_engine.url, "--concurrency", "2", "--num-prompts", "6", "--json"))
    await hold.reached()
    await scripted_engine.seen(2)
    assert len(scripted_engine.requests) == 2
    hold.open()
    (level,) = levels(await task)
    assert level["summary"]["answered"] == 6


async def test_an_open_loop_does_not_wait(folder: Path, scripted_engine: Engine) -> None:
    """S0.3: a slow engine gets a queue, as it would from users; nothing is answered before all have come."""
    scripted_engine.script = Script(count=2)
    task = asyncio.create_task(bench(folder, scripted_engine.url, "--rate", "100", "--num-prompts", "30", "--json"))
    await scripted_engine.until(lambda: scripted_engine.answered >= 4, "the warm-up")
    hold = scripted_engine.hold(before=1)
    await scripted_engine.seen(34)
    assert scripted_engine.running >= 25
    hold.open()
    (level,) = levels(await task)
    assert level["summary"]["answered"] == 30


async def test_a_bound_beside_a_rate(folder: Path, scripted_engine: Engine) -> None:
    """As --max-concurrency beside --request-rate: requests are late then, and that is told."""
    scripted_engine.script = Script(count=2, first=0.05)
    (level,) = levels(
        await bench(folder, scripted_engine.url, "--rate", "inf", "--concurrency", "3", "--num-prompts", "12", "--json")
    )
    assert level["level"] == {"concurrency": 3, "rate": None}  # JSON has no infinity
    assert level["summary"]["late"]["highest"] > 0.05
    assert level["running"]["highest"] <= 3


async def test_errors_are_results(folder: Path, scripted_engine: Engine) -> None:
    """An engine that sheds load is measured, not a failure of the measurement."""
    shed = Script(status=503, message="queue full")
    scripted_engine.next.extend([Script()] * 4 + [shed] * 3 + [Script(cut_after=1)] + [Script(error_after=1)])
    scripted_engine.script = Script(count=4)
    done = await bench(folder, scripted_engine.url, "--concurrency", "1", "--num-prompts", "12")
    assert done.code == 0, done.err
    assert "3 × status 503" in done.out
    assert "1 × broken" in done.out
    assert "1 × in stream" in done.out
    assert "queue full" in done.out


async def test_a_wrong_model_is_told_at_once(folder: Path, scripted_engine: Engine) -> None:
    """W31's cousin: not a report of a hundred refusals."""
    done = await bench(folder, scripted_engine.url, "--model", "nobody")
    assert done.code == 1
    assert "The model `nobody` does not exist" in done.err
    assert "Nothing was measured." in done.err


async def test_a_gateway_passes_its_engines_figures_on(
    folder: Path, gateway: StartGateway, scripted_engine: Engine
) -> None:
    """S0.4: measured where the applications are; the engine itself may be named for its figures."""
    scripted_engine.script = Script(count=6, gap=0.03)
    scripted_engine.gauges = Gauges(waiting=2, cache=0.5)
    running = await gateway(
        {
            "backends": {"gpu": {"kind": "vllm", "url": scripted_engine.url, "probe": "100ms"}},
            "aliases": {"assistant": {"targets": [{"backends": ["gpu"], "model": "m"}]}},
        }
    )
    (level,) = levels(await bench(folder, running.url, "--concurrency", "2", "--seconds", "0.6", "--json"))
    assert (level["waiting"]["highest"], level["kv_use"]["highest"]) == (2, 0.5)
    straight = await bench(
        folder, running.url, "--concurrency", "2", "--seconds", "0.6", "--json", "--metrics", scripted_engine.url
    )
    assert straight.data["metrics"] == f"{scripted_engine.url}/metrics"
    assert levels(straight)[0]["kv_use"]["highest"] == 0.5


async def test_answers_of_a_gateways_fallback_are_not_taken_for_the_engines(
    folder: Path, gateway: StartGateway, scripted_engine: Engine
) -> None:
    """Who answered is told, where it was more than one."""
    async with Engine(["m"]) as spare:
        running = await gateway(
            {
                "backends": {
                    "gpu": {"kind": "vllm", "url": scripted_engine.url},
                    "spare": {"kind": "vllm", "url": spare.url},
                },
                "aliases": {
                    "assistant": {
                        "targets": [{"backends": ["gpu"], "model": "m"}, {"backends": ["spare"], "model": "m"}]
                    }
                },
            }
        )
        scripted_engine.next.extend([Script()] * 4 + [Script(status=503)] * 2)
        done = await bench(folder, running.url, "--num-prompts", "8")
    assert done.code == 0, done.err
    assert re.search(r"its answers were given by more than one engine: \d by gpu, \d by spare\.", done.out)


async def test_a_gateway_with_a_certificate(
    folder: Path, scripted_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trusted where it is said to be, and an error that says how where it is not."""
    signer = trustme.CA()
    signer.cert_pem.write_to_path(folder / "ca.pem")
    signer.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(folder / "own.pem")
    await asyncio.to_thread(
        (folder / "penstock.yaml").write_text,
        "listen: ['127.0.0.1:0']\ntls: {cert: own.pem, key: own.pem}\n"
        f"backends: {{gpu: {{kind: vllm, url: '{scripted_engine.url}'}}}}\n"
        "aliases: {assistant: {targets: [{backends: [gpu], model: m}]}}\n",
        encoding="utf-8",
    )
    with started(folder, "serve") as process:
        assert process.stdout is not None
        line = json.loads(await asyncio.to_thread(process.stdout.readline))
        url = f"https://{line['listen'][0]}"
        distrusted = await bench(folder, url)
        assert distrusted.code == 2
        assert "SSL_CERT_FILE" in distrusted.err
        monkeypatch.setenv("SSL_CERT_FILE", str(folder / "ca.pem"))
        (level,) = levels(await bench(folder, url, "--concurrency", "2", "--num-prompts", "6", "--json"))
        assert (level["summary"]["answered"], level["summary"]["faults"]) == (6, {})
        process.send_signal(signal.SIGINT)
        await asyncio.to_thread(process.communicate, timeout=LIMIT)


async def test_ollama_under_load(folder: Path, ollama_double: OllamaDouble) -> None:
    """Its own API, and an engine that tells nothing of its queue."""
    ollama_double.script = Script(count=5)
    done = await bench(folder, ollama_double.url, "--api", "ollama", "--concurrency", "2", "--num-prompts", "10")
    assert done.code == 0, done.err
    assert "The engine tells nothing of its queue and its cache." in done.out
    assert done.out.startswith("Ollama")


async def test_the_guide_under_load(folder: Path, guide_url: str) -> None:
    """S0.3: a real engine behind a real gateway, with tokens that it really made."""
    done = await bench(folder, guide_url, "--concurrency", "1,2", "--num-prompts", "4", "--max-tokens", "8", "--json")
    for level in levels(done):
        told = level["summary"]
        assert (told["answered"], told["faults"]) == (4, {})
        assert 0 < told["completion_tokens"] <= 32
        assert told["tokens_per_second"] > 0
    assert done.data["endpoint"]["name"] == "Penstock"
    assert done.data["metrics"] == f"{guide_url}/metrics"
