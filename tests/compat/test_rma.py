"""RMA's own code over `penstock.compat.rma`, word for word but for its import lines and the arguments that it leaves out."""

from __future__ import annotations

from typing import Any, Literal

import openai
import pytest
import yaml
from tests.compat.snippet import diff, edited, framed, snippet
from tests.compat.test_tactical import ran
from tests.fakes.gateway import Gateway
from tests.fakes.threads import in_thread

from penstock.client import load_config
from penstock.compat import rma
from penstock.errors import ConfigError, Unreachable
from penstock.faults.engine import Engine
from penstock.faults.ollama import OllamaDouble
from penstock.faults.script import Script

IMPORT = {"from llm import call_ollama, call_vllm": "from penstock.compat.rma import call_ollama, call_vllm"}
SERVICE = """\
import logging

from llm import call_ollama, call_vllm

logger = logging.getLogger("notes-service")


def answer(prompt):
    ...
    return response
"""
STREAM = """\
import logging

from llm import call_ollama, call_vllm

logger = logging.getLogger("rag-service")


def tokens(prompt):
    try:
        yield from call_vllm(prompt, stream=True)
    except Exception as e:
        logger.warning(f"vLLM failed: {e}, trying Ollama")
        yield from call_ollama(prompt, stream=True)
"""
"""The document's fallback, in the generator that its "true token streaming" makes of it."""


def service_code() -> str:
    """What follows "Service code:" in the document's fallback."""
    return snippet("rma/fallback").split("# Service code:\n")[1]


def service() -> str:
    return framed(SERVICE, service_code(), depth=4)


def compiled() -> Any:  # noqa: ANN401
    """The document's service, its three dots being the prompt."""
    arguments = {
        "        response = call_vllm(...)": "        response = call_vllm(prompt)",
        "        response = call_ollama(...)": "        response = call_ollama(prompt)",
    }
    return ran(edited(service(), IMPORT | arguments))["answer"]


@pytest.fixture
def primary_and_fallback(
    scripted_engine: Engine, ollama_double: OllamaDouble, monkeypatch: pytest.MonkeyPatch
) -> Engine:
    """The two lines above the service code, with addresses that are there."""
    lines = [line for line in snippet("rma/fallback").splitlines() if line.startswith("VLLM_")]
    assert lines == ["VLLM_URL=http://vllm:8000/v1", "VLLM_FALLBACK=http://ollama:11434"]
    monkeypatch.setenv("VLLM_URL", f"{scripted_engine.url}/v1")
    monkeypatch.setenv("VLLM_FALLBACK", ollama_double.url)
    monkeypatch.setenv("VLLM_MODEL", "llama3.2")
    scripted_engine.models["llama3.2"] = scripted_engine.models["m"]
    return scripted_engine


def test_the_documents_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """S3.8, S3.9, S3.10, S3.21: its settings, from the environment or as it writes them."""
    monkeypatch.setenv("VLLM_MODEL", "other")
    assert (rma.VLLM_URL, rma.VLLM_FALLBACK) == ("http://vllm:8000/v1", "http://ollama:11434")
    assert (rma.VLLM_MODEL, rma.LLM_PROVIDER) == ("other", "ollama")
    with pytest.raises(AttributeError, match="VLLM_ULR"):
        _ = rma.VLLM_ULR


def test_only_the_import_line_changes() -> None:
    """S3.22: the whole diff of a service."""
    assert diff(service(), edited(service(), IMPORT)) == [
        f"{sign}{line}" for sign, line in zip("-+", *IMPORT.items(), strict=True)
    ]


async def test_the_openai_example(guided: Gateway) -> None:
    """S3.17: word for word but for the address, which the document takes to be this machine's port 8000."""
    before = snippet("rma/openai")
    line = '    base_url="http://localhost:8000/v1"'
    after = edited(before, {line: f'    base_url="{guided.url}/v1"'})
    assert diff(before, after) == [f"-{line}", f'+    base_url="{guided.url}/v1"']

    def said() -> list[str]:
        space = ran(after)
        with space["client"] as client, space["response"] as chunks:
            assert isinstance(client, openai.OpenAI)
            return [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]

    pieces = await in_thread(said)
    assert len([piece for piece in pieces if piece]) > 1


async def test_the_fallback_example(
    primary_and_fallback: Engine, ollama_double: OllamaDouble, caplog: pytest.LogCaptureFixture
) -> None:
    """S3.22, S3.26: vLLM answers while it is there; per request, Ollama when it is not, with the document's warning."""
    answer = compiled()
    assert await in_thread(lambda: answer("who answers?")) == "who answers?"
    assert not ollama_double.requests
    primary_and_fallback.script = Script(status=500)
    assert await in_thread(lambda: answer("and now?")) == "and now?"
    await primary_and_fallback.stop()
    assert await in_thread(lambda: answer("still?")) == "still?"
    await primary_and_fallback.start()
    primary_and_fallback.script = Script()
    assert await in_thread(lambda: answer("back?")) == "back?"
    assert len(ollama_double.requests) == 2
    warned = [message for message in caplog.messages if message.endswith(", trying Ollama")]
    assert [message.startswith("vLLM failed: ") for message in warned] == [True, True]
    assert "Connection refused" in warned[1]


async def test_falling_back_costs_no_waiting(primary_and_fallback: Engine) -> None:
    """X5: the service's own fallback is the second attempt; a broken engine is asked once."""
    primary_and_fallback.script = Script(status=503)
    await in_thread(lambda: compiled()("quick"))
    assert len(primary_and_fallback.requests) == 1


async def test_a_stream_that_cannot_begin_falls_back(
    primary_and_fallback: Engine, ollama_double: OllamaDouble, caplog: pytest.LogCaptureFixture
) -> None:
    """S3.3, S3.22: the generator's reader sees Ollama's tokens and nothing else."""
    tokens = ran(edited(STREAM, IMPORT))["tokens"]
    assert await in_thread(lambda: list(tokens("one two three"))) == ["one", " two", " three"]
    primary_and_fallback.script = Script(status=500)
    ollama_double.script = Script(tokens=("from", " the", " other"))
    assert await in_thread(lambda: "".join(tokens("one two three"))) == "from the other"
    assert any(", trying Ollama" in message for message in caplog.messages)


@pytest.mark.parametrize("cut", ["rst", "fin", "eos"])
async def test_a_stream_that_breaks_off_is_never_continued_by_another_model(
    primary_and_fallback: Engine,
    ollama_double: OllamaDouble,
    cut: Literal["rst", "fin", "eos"],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """S3.22, X4: the document's `except` around a generator would put two models' texts together; here it raises."""
    primary_and_fallback.script = Script(cut_after=2, cut=cut)
    tokens = ran(edited(STREAM, IMPORT))["tokens"]
    given: list[str] = []

    def read() -> None:
        for token in tokens("one two three"):
            given.append(token)  # noqa: PERF402 - what was given before the error counts

    with pytest.raises(rma.Interrupted, match="broke off after 7 characters") as raised:
        await in_thread(read)
    assert (given, raised.value.given) == (["one", " two"], "one two")
    assert not ollama_double.requests
    assert caplog.messages[-1].endswith(", trying Ollama")


async def test_a_service_that_throws_the_begin_away_may_ask_anew(
    primary_and_fallback: Engine, ollama_double: OllamaDouble
) -> None:
    primary_and_fallback.script = Script(cut_after=1)

    def whole() -> str:
        try:
            return "".join(rma.call_vllm("one two", stream=True))
        except rma.Interrupted:
            return rma.call_ollama("one two", anew=True)

    assert await in_thread(whole) == "one two"
    assert len(ollama_double.requests) == 1


async def test_both_down_is_an_error_that_names_the_engine(
    primary_and_fallback: Engine, ollama_double: OllamaDouble
) -> None:
    await primary_and_fallback.stop()
    await ollama_double.stop()
    with pytest.raises(Unreachable, match=f"Ollama at {ollama_double.url}"):
        await in_thread(lambda: compiled()("anyone?"))


async def test_three_services_move_one_by_one(
    primary_and_fallback: Engine, ollama_double: OllamaDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S3.14: one service uses vLLM while the others still ask Ollama; nothing but its environment says so."""
    monkeypatch.setenv("LLM_PROVIDER", "vllm")
    config = load_config()
    assert (config.use_vllm, config.vllm.host) == (True, primary_and_fallback.url)
    assert (config.llm.host, config.llm.model_name) == (ollama_double.url, "llama3.2")
    monkeypatch.setenv("LLM_PROVIDER", "ollama")
    assert load_config().use_vllm is False


def test_the_compose_files_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """S3.8, S3.9, S3.10: what the document's compose file gives its rag-service."""
    service = yaml.safe_load(snippet("rma/compose"))["services"]["rag-service"]
    environ = dict(line.split("=", 1) for line in service["environment"])
    config = load_config(environ=environ)
    assert (config.use_vllm, config.vllm.host, config.vllm.model_name) == (True, "http://vllm:8000", "llama3.2")
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert (rma.LLM_PROVIDER, rma.VLLM_URL, rma.VLLM_MODEL) == ("vllm", "http://vllm:8000/v1", "llama3.2")


def test_a_doubled_path_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """X2: the service whose code appends /v1 to VLLM_URL."""
    monkeypatch.setenv("VLLM_URL", "http://vllm:8000/v1/v1")
    with pytest.raises(ConfigError) as raised:
        rma.call_vllm("hello")
    assert "could be meant in two ways" in raised.value.sentence()


async def test_answers_through_the_gateway_are_the_engines(guided: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """S3.2, X9: both functions pointed at one gateway, which speaks both protocols."""
    monkeypatch.setenv("VLLM_URL", f"{guided.url}/v1")
    monkeypatch.setenv("VLLM_FALLBACK", guided.url)
    question = [{"role": "user", "content": "What is an alias?"}]
    vllm = await in_thread(lambda: rma.call_vllm(question, temperature=0))
    ollama = await in_thread(lambda: rma.call_ollama(question, temperature=0))
    assert vllm
    assert vllm == ollama
