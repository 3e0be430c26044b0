"""The classes without LangChain: their surface, and what says that it is missing."""

from __future__ import annotations

import asyncio
import inspect
import subprocess
import sys

import pytest
from langchain_core.language_models import BaseLLM
from tests.client.conftest import FAST, Ways
from tests.fakes.threads import in_thread

from penstock.client.plain import LANGCHAIN, ChatVLLM, OllamaClient, VLLMClient
from penstock.errors import BadRequest, ConfigError
from penstock.faults.engine import Engine
from penstock.faults.script import Script


async def test_batch(scripted_engine: Engine) -> None:
    """The answers in the order of the prompts, so many at a time as the config says."""
    client = VLLMClient("m", base_url=scripted_engine.url)
    prompts = [f"question {number}" for number in range(20)]
    assert await in_thread(lambda: client.batch(prompts)) == prompts
    assert await client.abatch(prompts) == prompts
    assert await client.abatch([]) == await in_thread(lambda: client.batch([])) == []
    gate = scripted_engine.hold(before=0)
    before = len(scripted_engine.requests)
    call = asyncio.create_task(in_thread(lambda: client.batch(prompts, {"max_concurrency": 3})))
    await scripted_engine.until(lambda: scripted_engine.running == 3, "three calls")
    assert len(scripted_engine.requests) == before + 3
    gate.open()
    assert await call == prompts
    assert len(scripted_engine.requests) == before + 20
    await client.aclose()


async def test_a_batch_with_errors(scripted_engine: Engine) -> None:
    """`return_exceptions` keeps the others; without it the first error is raised."""
    client = ChatVLLM("m", base_url=scripted_engine.url, **FAST)  # type: ignore[arg-type]
    scripted_engine.next.append(Script(status=400, message="no"))
    mixed = await client.abatch(["a", "b", "c"], {"max_concurrency": 1}, return_exceptions=True)
    assert [type(one).__name__ for one in mixed] == ["BadRequest", "Answer", "Answer"]
    scripted_engine.next.append(Script(status=400, message="no"))
    mixed = await in_thread(lambda: client.batch(["a", "b", "c"], [{"max_concurrency": 1}] * 3, return_exceptions=True))
    assert [type(one).__name__ for one in mixed] == ["BadRequest", "Answer", "Answer"]
    scripted_engine.next.append(Script(status=400, message="no"))
    with pytest.raises(BadRequest):
        await in_thread(lambda: client.batch(["a", "b", "c"]))
    scripted_engine.next.append(Script(status=400, message="no"))
    with pytest.raises(BadRequest):
        await client.abatch(["a", "b", "c"])
    await client.aclose()


def test_what_needs_langchain_says_so() -> None:
    """Every public method of LangChain's class is here, or names the extra."""
    client = VLLMClient("m", base_url="http://127.0.0.1:9")
    own = {name for name, _ in inspect.getmembers(VLLMClient) if not name.startswith("_")}
    theirs = {name for name, value in inspect.getmembers(BaseLLM, callable) if not name.startswith("_")}
    pydantics = {name for name in theirs if name.startswith("model_")} | {
        "construct", "copy", "from_orm", "json", "parse_file", "parse_obj", "parse_raw", "schema", "schema_json",
        "update_forward_refs", "validate",
    }  # fmt: skip
    assert theirs - pydantics - own - LANGCHAIN == set()
    for name in LANGCHAIN:
        with pytest.raises(AttributeError, match=r"penstock\[langchain\]"):
            getattr(client, name)
    with pytest.raises(AttributeError, match="no attribute 'invok'"):
        client.invok  # noqa: B018 - reading it is the test


@pytest.mark.parametrize("name", ["invoke", "ainvoke", "stream", "astream", "batch", "abatch"])
def test_the_signatures_are_langchains(name: str) -> None:
    """S1.11: the same parameters by name, in the same order."""
    theirs, own = (
        [(one.name, one.kind) for one in inspect.signature(getattr(kind, name)).parameters.values() if one.kind != 4]
        for kind in (BaseLLM, VLLMClient)
    )
    assert own == theirs


def test_two_names_for_one_url() -> None:
    """X2: `host` and `base_url`, with and without /v1; different ones are an error that names both."""
    assert VLLMClient("m", host="http://a:1/v1", base_url="http://a:1").base_url == "http://a:1"
    with pytest.raises(ConfigError, match="base_url='http://a:1' and host='http://b:1'"):
        VLLMClient("m", host="http://b:1", base_url="http://a:1")
    with pytest.raises(ConfigError, match="base_url='a:1' cannot be used"):
        VLLMClient("m", base_url="a:1")
    with pytest.raises(ConfigError, match="retry_attempts=0"):
        VLLMClient("m", base_url="http://a:1", retry_attempts=0)
    with pytest.raises(ConfigError, match="what Ollama calls the model 'some/unknown-model'"):
        VLLMClient("some/unknown-model", base_url="http://a:1", fallback="http://b:11434")


def test_the_usual_places(monkeypatch: pytest.MonkeyPatch) -> None:
    """S1.11, S1.19: a client made with nothing but a model."""
    assert VLLMClient().model == "meta-llama/Meta-Llama-3.1-8B-Instruct"
    assert VLLMClient().base_url == "http://vllm-server:8000"
    assert OllamaClient().base_url == "http://127.0.0.1:11434"
    monkeypatch.setenv("OLLAMA_HOST", "0.0.0.0:5000")
    assert OllamaClient().base_url == "http://127.0.0.1:5000"


async def test_a_check_at_construction(ways: Ways, scripted_engine: Engine) -> None:
    """S1.16: as OllamaLLM has it."""
    ways.made(await in_thread(lambda: VLLMClient("m", base_url=scripted_engine.url, validate_model_on_init=True)))
    with pytest.raises(ConnectionError):
        await in_thread(lambda: VLLMClient("m", base_url="http://127.0.0.1:9", validate_model_on_init=True))


def test_without_langchain() -> None:
    """The core imports without langchain, and importing penstock costs nothing."""
    script = (
        "import sys; import penstock; assert not {name for name in sys.modules if name.startswith('httpcore2')};"
        "sys.modules['langchain_core'] = None; sys.modules['pydantic'] = None;"
        "import penstock.client as client; assert 'httpcore2' not in sys.modules;"
        "print(client.VLLMClient.__module__, client.ChatVLLM.__module__, client.create_llm.__module__)"
    )
    done = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.split() == ["penstock.client.plain", "penstock.client.plain", "penstock.client.factory"]


def test_names_of_the_package() -> None:
    import penstock.client  # noqa: PLC0415 - its __getattr__ is what is tested

    for name in penstock.client.__all__:
        assert getattr(penstock.client, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'VLLMClint'"):
        penstock.client.VLLMClint  # noqa: B018
