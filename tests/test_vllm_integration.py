"""The six tests that the first document promises (S1.7, S1.24), by pytest or as `python tests/test_vllm_integration.py` (S1.41).

As a program it takes the engines that VLLM_HOST and OLLAMA_HOST name (with VLLM_MODEL and OLLAMA_MODEL) and prints the
comparison of the two. Without those names, and always under pytest, one small engine stands in for both: a gateway in
front of the guide, which speaks both protocols. Then there is nothing to be faster, and the comparison says so.
"""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
from langchain_ollama import OllamaLLM

from penstock import environment
from penstock.compat.tactical import VLLMClient, create_llm, get_llm_type, load_config
from penstock.types import Kind

if TYPE_CHECKING:
    from penstock.client import ClientConfig

ROOT = Path(__file__).parents[1]
QUESTION = "What is RAG?"
AS_A_PROGRAM = "PENSTOCK_INTEGRATION"
"""Set by this file when it is run as a program: then the environment's engines are taken."""
WITHIN = 50.0


class Site(NamedTuple):
    """Where the two engines are, and what to ask of them."""

    vllm: str
    model: str
    ollama: str
    tag: str

    def config(self, *, use_vllm: bool) -> ClientConfig:
        config = load_config(environ={})
        config.use_vllm, config.vllm.host, config.vllm.model_name = use_vllm, self.vllm, self.model
        config.llm.host, config.llm.model_name = self.ollama, self.tag
        config.vllm.max_tokens = 32
        return config


@pytest.fixture
def site(request: pytest.FixtureRequest) -> Site:
    named = os.environ if AS_A_PROGRAM in os.environ else {}
    both = named.get("VLLM_HOST"), named.get("OLLAMA_HOST")
    stand_in = "" if all(both) else request.getfixturevalue("guided").url
    return Site(
        both[0] or stand_in,
        named.get("VLLM_MODEL") or environment.DEFAULT_MODELS[Kind.VLLM],
        both[1] or stand_in,
        named.get("OLLAMA_MODEL") or environment.DEFAULT_MODELS[Kind.OLLAMA],
    )


async def test_basic_vllm_inference(site: Site) -> None:
    """S1.24, 1: the document's client."""
    llm = VLLMClient(model=site.model, base_url=site.vllm, temperature=0.0, max_tokens=32)
    assert await asyncio.to_thread(llm.invoke, QUESTION)
    llm.close()


async def test_basic_ollama_inference(site: Site) -> None:
    """S1.24, 2: the baseline, with Ollama's own class."""
    llm = OllamaLLM(model=site.tag, base_url=site.ollama, temperature=0.0, num_predict=32)
    assert await asyncio.to_thread(llm.invoke, QUESTION)
    assert llm._client is not None
    llm._client.close()  # type: ignore[no-untyped-call]


async def test_factory_with_vllm_enabled(site: Site) -> None:
    """S1.24, 3: vLLM is checked and chosen."""
    llm = await asyncio.to_thread(create_llm, site.config(use_vllm=True))
    assert isinstance(llm, VLLMClient)
    assert await asyncio.to_thread(llm.invoke, QUESTION)
    assert get_llm_type(llm) == "vllm"
    llm.close()


async def test_factory_with_ollama_fallback(site: Site, unused_tcp_port: int, caplog: pytest.LogCaptureFixture) -> None:
    """S1.24, 4, S1.33: nobody answers where vLLM should be; the log says so and Ollama answers."""
    config = site.config(use_vllm=True)
    config.vllm.host = f"http://127.0.0.1:{unused_tcp_port}"
    llm = await asyncio.to_thread(create_llm, config)
    assert get_llm_type(llm) == "ollama"
    assert "⚠ vLLM initialization failed: Connection refused" in caplog.messages
    assert await asyncio.to_thread(llm.invoke, QUESTION)
    llm.close()


async def test_async_vllm_inference(site: Site) -> None:
    """S1.24, 5: several questions at once, in one thread."""
    llm = VLLMClient(model=site.model, base_url=site.vllm, temperature=0.0, max_tokens=32)
    answers = await asyncio.gather(*(llm.ainvoke(QUESTION) for _ in range(4)))
    assert all(answers)
    assert len(set(answers)) == 1
    await llm.aclose()


async def test_performance_comparison(site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """S1.24, 6, S1.25: the document's lines, measured; a speed-up that was not shown is not claimed (X10)."""
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("What is RAG?\nWhat is an alias?\nWhat is a backend?\n", encoding="utf-8")
    text = await compared(site, prompts)
    lines = [
        line for line in text.splitlines() if re.match(r"(Ollama Time|vLLM Time|Speedup|Improvement|Status):", line)
    ]
    with capsys.disabled():
        if AS_A_PROGRAM in os.environ:
            print("\n" + "\n".join(lines))  # noqa: T201 - what the program is for
    assert [line.partition(":")[0] for line in lines] == [
        "Ollama Time",
        "vLLM Time",
        "Speedup",
        "Improvement",
        "Status",
    ]
    shown = re.search(r"Speedup: +(\d+\.\d+)x (faster|slower)", text)
    assert shown or ("not shown" in text and "NO DIFFERENCE SHOWN" in text)


async def compared(site: Site, prompts: Path) -> str:
    """What `penstock compare` prints of Ollama and vLLM, in this order."""
    command = [
        *("compare", site.ollama, site.vllm, "--name-a", "Ollama", "--name-b", "vLLM", "--api-a", "ollama", "--api-b", "openai"),
        *("--model-a", site.tag, "--model-b", site.model, "--prompts", str(prompts)),
        *("--concurrency", "1", "--num-prompts", "15", "--max-tokens", "16"),
    ]  # fmt: skip
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-P", "-c", "from penstock.cli import main; main()", *command),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, error = await asyncio.wait_for(process.communicate(), WITHIN)
    assert process.returncode == 0, error.decode()
    return out.decode()


if __name__ == "__main__":
    # in a process of its own, because pytest wants to see some modules first; of its plugins, with those that are needed
    plugins = ["-p", "pytest_asyncio.plugin", "-p", "pytest_timeout", "-p", "no:cacheprovider"]
    raise SystemExit(
        subprocess.call(
            [sys.executable, "-m", "pytest", __file__, "-v", *plugins, *sys.argv[1:]],
            cwd=ROOT,
            env={**os.environ, AS_A_PROGRAM: "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        )
    )
