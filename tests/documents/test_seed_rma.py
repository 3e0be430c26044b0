"""The third document, RMA: three services that move from Ollama to vLLM step by step, through the library.

How its snippets run word for word: tests/compat/test_rma.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import ollama
import openai
import pytest_asyncio
from langchain_core.messages import AIMessageChunk
from openai.types.chat import ChatCompletionUserMessageParam
from pydantic import BaseModel
from tests.fakes.gateway import Gateway, StartGateway

from penstock.client import ChatVLLM, load_config
from penstock.client.langchain import ChatVLLM as LangChainChat
from penstock.client.langchain import VLLMClient
from penstock.compat.tactical import create_llm, get_llm_type
from penstock.faults.engine import Engine
from penstock.faults.ollama import OllamaDouble
from penstock.faults.script import Script


class Graph(BaseModel):
    """What the NER graph service makes of a text."""

    nodes: list[str]


class Rag:
    """Answers from passages, token by token."""

    def __init__(self, llm: VLLMClient) -> None:
        self.llm = llm

    async def answer(self, question: str) -> AsyncIterator[str]:
        async for token in self.llm.astream(question):
            yield token


class Notes:
    """Summaries, several at a time."""

    def __init__(self, llm: VLLMClient) -> None:
        self.llm = llm

    async def summaries(self, notes: list[str]) -> list[str]:
        return await self.llm.abatch(list(notes))


class NerGraph:
    """Entities, in a fixed form."""

    def __init__(self, llm: VLLMClient) -> None:
        self.llm = llm.with_structured_output(Graph)

    async def graph(self, text: str) -> object:
        return await self.llm.ainvoke(text)


Made = Callable[..., VLLMClient]


@pytest_asyncio.fixture
async def service(scripted_engine: Engine, ollama_double: OllamaDouble) -> AsyncIterator[Made]:
    """`service(LLM_PROVIDER="vllm")`: a model as a service with this environment makes it; the URLs are those of both engines."""
    made: list[Any] = []
    scripted_engine.models["llama3.2"] = scripted_engine.models["m"]

    def make(**environ: str) -> VLLMClient:
        urls = {"VLLM_URL": f"{scripted_engine.url}/v1", "VLLM_FALLBACK": ollama_double.url, "VLLM_MODEL": "llama3.2"}
        config = load_config(environ=urls | environ)
        config.vllm.retry_delay = 0.01
        llm: VLLMClient = create_llm(config, test_connection=False)
        made.append(llm)
        return llm

    yield make
    for llm in made:
        await llm.aclose()


async def test_all_three_services_work_on_either_engine(
    service: Made, scripted_engine: Engine, ollama_double: OllamaDouble
) -> None:
    """S3.2, S3.26: "All services working without changes": only LLM_PROVIDER differs."""
    json = ('{"nodes": ', '["Ada"]}')
    for provider, engine in (("ollama", ollama_double), ("vllm", scripted_engine)):
        llm = service(LLM_PROVIDER=provider)
        assert [token async for token in Rag(llm).answer("one two") if token] == ["one", " two"]
        assert await Notes(llm).summaries(["a", "b", "c"]) == ["a", "b", "c"]
        engine.script = Script(tokens=json)
        assert await NerGraph(llm).graph("Ada wrote") == Graph(nodes=["Ada"])
        engine.script = Script()
        assert get_llm_type(llm) == provider
        assert len(engine.requests) == 5


async def test_deployed_in_parallel_and_tried_with_one_service(
    service: Made, scripted_engine: Engine, ollama_double: OllamaDouble
) -> None:
    """S3.13: both engines run; notes try vLLM, the two others stay."""
    rag, notes, ner = (service(LLM_PROVIDER=provider) for provider in ("ollama", "vllm", "ollama"))
    await asyncio.gather(rag.ainvoke("r"), notes.ainvoke("n"), ner.ainvoke("g"))
    assert [get_llm_type(llm) for llm in (rag, notes, ner)] == ["ollama", "vllm", "ollama"]
    assert (len(ollama_double.requests), len(scripted_engine.requests)) == (2, 1)


async def test_services_migrate_one_by_one(service: Made) -> None:
    """S3.14, S3.25: RAG, then notes, then NER graph; each answers after each step, and a step can be taken back."""
    providers = {"rag": "ollama", "notes": "ollama", "ner": "ollama"}
    seen = []
    for step in ("", "rag", "notes", "ner"):
        if step:
            providers[step] = "vllm"
        llms = {name: service(LLM_PROVIDER=provider) for name, provider in providers.items()}
        assert [await llm.ainvoke("well?") for llm in llms.values()] == ["well?"] * 3
        seen.append([get_llm_type(llm) for llm in llms.values()])
    o, v = "ollama", "vllm"
    assert seen == [[o, o, o], [v, o, o], [v, v, o], [v, v, v]]
    assert await service(LLM_PROVIDER="ollama").ainvoke("back") == "back"


async def test_true_token_streaming(service: Made, scripted_engine: Engine) -> None:
    """S3.3, S3.26: the first token is with the reader before the second exists."""
    gate = scripted_engine.hold(before=1)
    answer = Rag(service(LLM_PROVIDER="vllm")).answer("one two three")
    assert await anext(answer) == "one"
    gate.open()
    assert "".join([token async for token in answer]) == " two three"


async def test_requests_are_batched_by_the_engine(service: Made, scripted_engine: Engine) -> None:
    """S3.1, S3.2: where Ollama took them one after the other, all are with vLLM at once."""
    notes = Notes(service(LLM_PROVIDER="vllm"))
    gate = scripted_engine.hold(before=0)
    running = asyncio.ensure_future(notes.summaries([f"note {number}" for number in range(12)]))
    await scripted_engine.until(lambda: scripted_engine.running == 12, "twelve requests at once")
    gate.open()
    assert len(await running) == 12


async def test_the_fallback_keeps_all_services_up(
    service: Made, scripted_engine: Engine, ollama_double: OllamaDouble
) -> None:
    """S3.22, S3.26: vLLM goes down under three services; each answers from Ollama, and from vLLM when it is back."""
    llms = [service(LLM_PROVIDER="vllm") for _ in range(3)]
    await scripted_engine.stop()
    assert [await llm.ainvoke("up?") for llm in llms] == ["up?"] * 3
    assert len(ollama_double.requests) == 3
    assert [llm.counts.fallbacks for llm in llms] == [{"connect": 1}] * 3
    await scripted_engine.start()
    assert [await llm.ainvoke("back?") for llm in llms] == ["back?"] * 3
    assert len(ollama_double.requests) == 3


async def test_with_ollama_removed_vllm_stands_alone(
    service: Made, scripted_engine: Engine, ollama_double: OllamaDouble
) -> None:
    """S3.16: Ollama is an option, not a condition."""
    await ollama_double.stop()
    llm = service(LLM_PROVIDER="vllm")
    assert await llm.ainvoke("alone") == "alone"
    assert len(scripted_engine.requests) == 1


async def test_one_gateway_for_clients_of_every_kind(guided: Gateway) -> None:
    """S3.26, S3.13: API compatibility: the OpenAI client, Ollama's client and ours get the same answer from one engine."""
    question = [ChatCompletionUserMessageParam(role="user", content="What is an alias?")]
    async with openai.AsyncOpenAI(base_url=f"{guided.url}/v1", api_key="not-needed") as client:
        whole = await client.chat.completions.create(model="llama3.2", messages=question, temperature=0)
    theirs = ollama.AsyncClient(host=guided.url)
    chatted = await theirs.chat(model="llama3.2", messages=question, options={"temperature": 0})
    await theirs.close()  # type: ignore[no-untyped-call]
    llm = LangChainChat(model="llama3.2", base_url=guided.url)
    chunks = [chunk async for chunk in llm.astream("What is an alias?")]
    await llm.aclose()
    assert all(isinstance(chunk, AIMessageChunk) for chunk in chunks)
    ours = "".join(str(chunk.content) for chunk in chunks)
    assert ours == whole.choices[0].message.content == chatted.message.content


async def test_behind_a_gateway_the_gateway_falls_back(
    gateway: StartGateway, scripted_engine: Engine, ollama_double: OllamaDouble
) -> None:
    """S3.22: the services point at one place and keep no fallback of their own; who answered and why is in the metadata."""
    running = await gateway(
        {
            "backends": {
                "gpu": {"kind": "vllm", "url": scripted_engine.url},
                "spare": {"kind": "ollama", "url": ollama_double.url},
            },
            "aliases": {
                "llama3.2": {
                    "targets": [{"backends": ["gpu"], "model": "m"}, {"backends": ["spare"], "model": "llama3.2"}]
                }
            },
        }
    )
    llm = ChatVLLM(model="llama3.2", base_url=running.url, fallback="http://127.0.0.1:9", retry_attempts=1)
    scripted_engine.script = Script(status=500)
    message = await llm.ainvoke("who?")
    shown = message.response_metadata  # type: ignore[attr-defined]
    assert (shown["backend"], shown["fallback"]) == ("spare", "5xx")
    assert llm.counts.fallbacks == {}
    assert llm.counts.gateway_fallbacks == {"5xx": 1}
    await llm.aclose()
