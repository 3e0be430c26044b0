"""The howto of the library: every block of Python in it runs, against a scripted vLLM and an Ollama."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.threads import in_thread

from penstock import environment
from penstock.client.settings import LLMConfig, VLLMConfig
from penstock.faults.condition import Model
from penstock.faults.engine import Engine
from penstock.faults.ollama import OllamaDouble

ROOT = Path(__file__).parents[2]
HOWTO = (ROOT / "docs" / "howto" / "library.md").read_text(encoding="utf-8")
REFERENCE = (ROOT / "docs" / "reference" / "client.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", HOWTO, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=[str(number) for number in range(len(BLOCKS))])
async def test_a_block_runs(block: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name in environment.NAMES:
        monkeypatch.delenv(name, raising=False)
    model = Model("meta-llama/Meta-Llama-3.1-8B-Instruct")
    async with Engine([model]) as engine, OllamaDouble(["llama3.1:8b"]) as ollama:
        text = block.replace("http://vllm-server:8000", engine.url).replace("http://ollama:11434", ollama.url)
        names: dict[str, Any] = {}
        await in_thread(lambda: exec(compile(text, "docs/howto/library.md", "exec"), names))  # noqa: S102 - the page's own
        for client in (names.get("llm"), names.get("chat")):
            if client is not None:
                client.close()
        assert capsys.readouterr().out
        assert engine.requests


def test_the_reference_names_every_setting() -> None:
    settings = REFERENCE.partition("\n## Settings\n")[2]
    for kind in (VLLMConfig, LLMConfig):
        listed = settings.partition(f"`{kind.__name__}`")[2].partition(". ")[0]
        assert re.findall(r"`(\w+)`", listed) == list(kind.model_fields)
