"""Tactical RAG's own code over `penstock.compat.tactical`, word for word but for its import lines."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from langchain_ollama import OllamaLLM
from pydantic import BaseModel, Field
from tests.compat.snippet import diff, edited, framed, snippet
from tests.fakes.gateway import Gateway
from tests.fakes.threads import in_thread
from tests.guided import HUB

from penstock.compat import tactical
from penstock.compat.tactical import VLLMClient, create_llm, get_llm_type, load_config
from penstock.faults.engine import Engine
from penstock.faults.ollama import OllamaDouble

IMPORTS = {
    "from vllm_client import VLLMClient": "from penstock.compat.tactical import VLLMClient",
    "from llm_factory import create_llm, get_llm_type": "from penstock.compat.tactical import create_llm, get_llm_type",
    "from config import load_config": "from penstock.compat.tactical import load_config",
}
APP = """\
import asyncio
import logging

from config import load_config
from llm_factory import create_llm, get_llm_type

logger = logging.getLogger("app")


class App:
    def __init__(self, config):
        self.config = config

    async def start(self):
        ...


if __name__ == "__main__":
    app = App(load_config())
    asyncio.run(app.start())
    print(app.llm.invoke("What is an alias?"))
"""


def used(source: str) -> dict[str, str]:
    """The import lines of this source, and what they become."""
    return {line: IMPORTS[line] for line in source.splitlines() if line in IMPORTS}


def app() -> str:
    """The document's `_src/app.py`."""
    return framed(APP, snippet("tactical/app_after"), depth=8)


def ran(source: str, **names: Any) -> dict[str, Any]:  # noqa: ANN401
    """The names that a source defines."""
    space: dict[str, Any] = {"__name__": "app", **names}
    exec(compile(source, "app.py", "exec"), space)  # noqa: S102 - the document's own code
    return space


async def started(config: object) -> Any:  # noqa: ANN401
    """The document's application after its start."""
    running = ran(edited(app(), used(app())))["App"](config)
    await running.start()
    return running


def test_the_documents_names() -> None:
    """S1.5, S1.6, S1.9, S1.17: vllm_client, llm_factory and config in one module."""
    assert sorted(tactical.__all__) == [
        "OllamaLLM", "VLLMClient", "VLLMConfig", "create_llm", "get_llm_type", "is_vllm_enabled", "load_config",
    ]  # fmt: skip
    assert all(getattr(tactical, name) is not None for name in tactical.__all__)


async def test_the_documents_names_without_langchain(guided: Gateway) -> None:
    """S1.5: the same names where LangChain is not installed; the example's calls work all the same."""
    code = (
        "import sys; sys.modules['langchain_core'] = None\n"
        "from penstock.compat.tactical import OllamaLLM, VLLMClient, create_llm, get_llm_type, load_config\n"
        f"llm = VLLMClient(model={HUB!r}, temperature=0.0)\n"
        "print(type(llm).__module__, get_llm_type(llm))\n"
        "print(llm.invoke('What is RAG?'))\n"
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-c", code),
        env={**os.environ, "VLLM_HOST": guided.url},
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await asyncio.wait_for(process.communicate(), 40)
    told, answer = out.decode().split("\n", 1)
    assert told == "penstock.client.plain vllm"
    assert answer.strip()


def test_only_import_lines_change() -> None:
    """S1.1, S1.9: the whole diff of an application."""
    assert diff(app(), edited(app(), used(app()))) == [
        "-from config import load_config",
        "-from llm_factory import create_llm, get_llm_type",
        "+from penstock.compat.tactical import load_config",
        "+from penstock.compat.tactical import create_llm, get_llm_type",
    ]


async def test_the_client_example(guided: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """S1.11: Ollama's class and ours, one after the other, against one gateway: the same call and the same answer (X9)."""
    monkeypatch.setenv("OLLAMA_HOST", guided.url)
    monkeypatch.setenv("VLLM_HOST", guided.url)
    before = "from langchain_ollama import OllamaLLM\nfrom vllm_client import VLLMClient\n\n" + snippet(
        "tactical/client"
    )
    after = edited(before, used(before))
    assert diff(before, after) == [
        "-from vllm_client import VLLMClient",
        "+from penstock.compat.tactical import VLLMClient",
    ]
    old, new = after.split("# New vLLM code")

    def both() -> tuple[dict[str, Any], dict[str, Any]]:
        first = ran(old)
        second = ran("# New vLLM code" + new, VLLMClient=first["VLLMClient"])
        first["llm"]._client.close()
        second["llm"].close()
        return first, second

    ollama, vllm = await in_thread(both)
    assert isinstance(ollama["llm"], OllamaLLM)
    assert isinstance(vllm["llm"], VLLMClient)
    assert vllm["response"] == ollama["response"]
    assert vllm["response"]


def test_the_config_example_is_our_config() -> None:
    """S1.19: the same fields, defaults and dump, whether written down or imported."""
    theirs = ran("from pydantic import BaseModel\n\n" + snippet("tactical/config"))["VLLMConfig"]
    assert tactical.VLLMConfig().model_dump() == theirs().model_dump()
    assert tactical.VLLMConfig(timeout=30).model_dump() == theirs(timeout=30).model_dump()
    assert list(tactical.VLLMConfig.model_fields) == list(theirs.model_fields)


def test_the_flag_is_off() -> None:
    """S1.20, X3: Ollama as long as nothing says otherwise."""
    own = ran("from pydantic import Field\n\n" + snippet("tactical/flag"))
    assert own["use_vllm"].default is False
    assert tactical.load_config().use_vllm is False
    assert tactical.is_vllm_enabled(tactical.load_config()) is False


async def test_the_application_starts_on_vllm(
    guided: Gateway, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """S1.23: the factory without a test, one call in a thread, and the log line."""
    monkeypatch.setenv("USE_VLLM", "true")
    monkeypatch.setenv("VLLM_HOST", guided.url)
    with caplog.at_level(logging.INFO):
        running = await started(load_config())
    assert "✓ LLM ready (vllm)" in caplog.messages
    running.llm.close()


async def test_the_application_starts_without_vllm(
    scripted_engine: Engine, ollama_double: OllamaDouble, caplog: pytest.LogCaptureFixture
) -> None:
    """S1.4, W30: with `test_connection=False` too, the first call falls back instead of ending the start."""
    await scripted_engine.stop()
    config = load_config()
    config.use_vllm, config.vllm.host, config.llm.host = True, scripted_engine.url, ollama_double.url
    config.llm.model_name = "llama3.2"
    with caplog.at_level(logging.INFO):
        running = await started(config)
    assert "✓ LLM ready (ollama)" in caplog.messages
    assert any("Connection refused" in message and "Ollama" in message for message in caplog.messages)
    assert await in_thread(lambda: running.llm.invoke("still here")) == "still here"
    running.llm.close()


async def test_the_old_way_still_works(guided: Gateway) -> None:
    """S1.9, S1.31: "Before (Ollama only)", with Ollama's own class; its `...` stands for more of the same."""
    frame = "from langchain_ollama import OllamaLLM\n\n\nclass App:\n    def start(self):\n        ...\n"
    before = framed(frame, snippet("tactical/app_before"), depth=8)
    after = edited(before, {"            ...": "            'base_url': self.config.llm.host,"})
    assert diff(before, after) == ["-            ...", "+            'base_url': self.config.llm.host,"]
    config = load_config()
    config.llm.host = guided.url
    running = ran(after)["App"]()
    running.config = config
    running.start()
    assert get_llm_type(running.llm) == "ollama"
    assert await in_thread(lambda: running.llm.invoke("What is an alias?"))
    running.llm._client.close()


class OwnConfig(BaseModel):
    """An application's own config.py, pydantic, with the document's two additions."""

    class LLM(BaseModel):
        model_name: str = "llama3.2"
        temperature: float = 0.0
        host: str = ""

    llm: LLM = LLM()
    vllm: tactical.VLLMConfig = Field(default_factory=tactical.VLLMConfig)
    use_vllm: bool = False


async def test_an_applications_own_config_object(scripted_engine: Engine, ollama_double: OllamaDouble) -> None:
    """S1.18, S1.38: the factory takes whatever has the document's fields; each way gives the document's class."""
    config = OwnConfig()
    config.llm.host = ollama_double.url
    config.vllm.host, config.vllm.model_name = scripted_engine.url, "m"
    llm = await in_thread(lambda: create_llm(config))
    assert (get_llm_type(llm), type(llm)) == ("ollama", tactical.OllamaLLM)
    llm.close()
    config.use_vllm = True
    llm = await in_thread(lambda: create_llm(config))
    assert (get_llm_type(llm), type(llm)) == ("vllm", VLLMClient)
    assert await in_thread(lambda: llm.invoke("hello")) == "hello"
    llm.close()


async def test_enabled_by_the_environment(guided: Gateway, tmp_path: Path) -> None:
    """S1.26, S1.3: the document's shell commands, on its application in `_src/app.py`; `docker` is another part's."""
    await ran_by_shell(snippet("tactical/enable_environment"), guided, tmp_path)


async def ran_by_shell(commands: str, guided: Gateway, folder: Path) -> None:
    edit = {"export VLLM_HOST=http://vllm-server:8000": f"export VLLM_HOST={guided.url}"}
    script = edited(commands, edit)
    assert len(diff(commands, script)) == 2
    (folder / "_src").mkdir()
    (folder / "_src" / "app.py").write_text(edited(app(), used(app())), encoding="utf-8")
    (folder / "bin").mkdir()
    (folder / "bin" / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n', encoding="utf-8")
    (folder / "bin" / "python").chmod(0o755)
    process = await asyncio.create_subprocess_exec(
        "bash",
        "-ec",
        script,
        cwd=folder,
        env={**os.environ, "PATH": f"{folder / 'bin'}:{os.environ['PATH']}"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, error = await asyncio.wait_for(process.communicate(), 40)
    assert process.returncode == 0, error.decode()
    assert out.strip()
    assert error == b""


def test_enabled_by_compose() -> None:
    """S1.26: the environment that the document's compose file gives its backend."""
    service = yaml.safe_load(snippet("tactical/enable_compose"))["backend"]
    config = load_config(environ=dict(line.split("=", 1) for line in service["environment"]))
    assert (config.use_vllm, config.vllm.host, config.vllm.model_name) == (True, "http://vllm-server:8000", HUB)


async def test_enabled_in_code(guided: Gateway) -> None:
    """S1.26: `config.use_vllm = True`."""
    before = "from config import load_config\n\n" + snippet("tactical/enable_code")
    config = ran(edited(before, used(before)))["config"]
    config.vllm.host = guided.url
    llm = await in_thread(lambda: create_llm(config))
    assert get_llm_type(llm) == "vllm"
    llm.close()


async def test_rolled_back_by_the_environment(ollama_double: OllamaDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    """S1.40: `USE_VLLM=false` and a restart bring Ollama back, whatever else is still set."""
    line = next(line for line in snippet("tactical/rollback").splitlines() if line.startswith("export "))
    name, _, value = line.removeprefix("export ").partition("=")
    monkeypatch.setenv(name, value)
    monkeypatch.setenv("VLLM_HOST", "http://127.0.0.1:9")
    monkeypatch.setenv("OLLAMA_HOST", ollama_double.url)
    config = load_config()
    config.llm.model_name = "llama3.2"
    llm = await in_thread(lambda: create_llm(config))
    assert get_llm_type(llm) == "ollama"
    assert await in_thread(lambda: llm.invoke("as before")) == "as before"
    llm.close()
