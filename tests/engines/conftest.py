"""The real vLLM servers for the tests of this folder. At most two are alive at once; both start on first use and live until the end.

Fixtures
  vllm_generate   session: a VllmServer (tests/engines/servers.py) that answers chat, completions, responses and messages. It serves the
                  guide model under two names, servers.LLAMA (the first, the one that vLLM puts into its answers) and servers.GUIDE;
                  tool calls are on (parser hermes), LoRA is not. `.url`, `.port`, `.names`, `.started_in`.
  vllm_pooling    session: the same model with `--runner pooling --convert embed`, under servers.EMBED and servers.GUIDE: embeddings,
                  score, rerank. 70 s of start on a busy machine, so ask for it only where it is needed.
  vllm_to_kill    function: vllm_generate, for tests that call `.kill()` (SIGKILL to all of its processes) and `.start()` (the same port;
                  returns once the model can be asked). A test that gets it finds the server running, and may leave it dead. Such
                  tests run last, whatever file they are in.
  vllm_lora       module: a third launch, with runtime LoRA and one slot for adapters. The two others are ended first, so tests that get
                  it run after all the rest.
  guide           session: the folder of the model's safetensors and tokenizer.

Environment
  PENSTOCK_VLLM_VENV    where tests/engines/install put vLLM (default .venv-vllm)
  PENSTOCK_VLLM_MODEL   another folder to serve instead of models/guide/hf
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.engines.servers import EMBED, GUIDE, LLAMA, ROOT, Launch, VllmServer

# A constrained answer may not begin with a blank: a small model would go on with blanks until its tokens are used up.
TIGHT_JSON = '{"backend": "xgrammar", "disable_any_whitespace": true}'
TOOLS = ("--enable-auto-tool-choice", "--tool-call-parser", "hermes")
LORA = ("--enable-lora", "--max-loras", "1", "--max-cpu-loras", "2", "--max-lora-rank", "8")


@pytest.fixture(scope="session")
def guide() -> Path:
    folder = ROOT / os.environ.get("PENSTOCK_VLLM_MODEL", "models/guide/hf")
    if not (folder / "config.json").exists():
        raise FileNotFoundError(
            f"looking for the model to serve: {folder} holds no config.json; models/guide/train.py makes the guide, "
            "and PENSTOCK_VLLM_MODEL names another folder"
        )
    return folder


@pytest.fixture(scope="session")
def vllm_generate(
    guide: Path, alive: list[VllmServer], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[VllmServer]:
    launch = Launch(guide, (LLAMA, GUIDE), (*TOOLS, "--structured-outputs-config", TIGHT_JSON))
    yield from serving(VllmServer(launch, tmp_path_factory.mktemp("vllm-generate")), alive)


@pytest.fixture(scope="session")
def vllm_pooling(
    guide: Path, alive: list[VllmServer], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[VllmServer]:
    launch = Launch(guide, (EMBED, GUIDE), ("--runner", "pooling", "--convert", "embed"))
    yield from serving(VllmServer(launch, tmp_path_factory.mktemp("vllm-pooling")), alive)


@pytest.fixture(scope="module")
def vllm_lora(guide: Path, alive: list[VllmServer], tmp_path_factory: pytest.TempPathFactory) -> Iterator[VllmServer]:
    for server in alive:
        server.stop()
    launch = Launch(guide, (LLAMA, GUIDE), LORA, {"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1"})
    yield from serving(VllmServer(launch, tmp_path_factory.mktemp("vllm-lora")), alive)


@pytest.fixture
def vllm_to_kill(vllm_generate: VllmServer) -> VllmServer:
    vllm_generate.start()
    return vllm_generate


@pytest.fixture(scope="session")
def alive() -> list[VllmServer]:
    """The servers that were started so far and not ended for good."""
    return []


def serving(server: VllmServer, alive: list[VllmServer]) -> Iterator[VllmServer]:
    alive.append(server)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        alive.remove(server)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Those that kill or end a server go last, so that a start is paid only by another one that does."""
    items.sort(
        key=lambda item: [fixture in getattr(item, "fixturenames", ()) for fixture in ("vllm_lora", "vllm_to_kill")]
    )
