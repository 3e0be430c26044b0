"""The backends of the matrix: each an engine, a gateway process in front of it, and a way to ask the engine itself.

What an engine answers when it is asked directly, in its own protocol and without any client library, is the truth that
every answer through the gateway is compared with.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from tests.clients.outcome import Ask, Json
from tests.engines_fixtures import embedded_engine
from tests.fakes.gateway import Config, Gateways
from tests.fakes.openai import openai_engine
from tests.fakes.raw import once

from penstock.faults.engine import Engine
from penstock.faults.ollama import OllamaDouble
from penstock.faults.ollama_shapes import OllamaModel
from penstock.faults.record import Journal

ALIAS = "assistant"
EMBED_ALIAS = "assistant-embed"


@dataclass(frozen=True, slots=True)
class Truth:
    """What the engine itself says."""

    text: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    vectors: tuple[tuple[float, ...], ...] = ()


class Direct(Protocol):
    """An engine asked without the gateway."""

    async def chat(self, ask: Ask, schema: Json | None = None, tool: Json | None = None) -> Truth:
        """A conversation of one message."""

    async def complete(self, ask: Ask) -> Truth:
        """A prompt as it is, without a template."""

    async def generate(self, ask: Ask) -> Truth:
        """What Ollama's /api/generate stands for: a prompt in the model's template."""

    async def embed(self, texts: Sequence[str]) -> Truth:
        """Vectors."""


@dataclass(frozen=True, slots=True)
class OpenAIDirect:
    """An engine that speaks OpenAI."""

    url: str
    model: str
    embed_url: str
    embed_model: str

    async def chat(self, ask: Ask, schema: Json | None = None, tool: Json | None = None) -> Truth:
        body = {**self._body(ask, self.model), "messages": [{"role": "user", "content": ask.text}]}
        if schema is not None:
            form = {"name": schema["title"], "schema": schema}
            body["response_format"] = {"type": "json_schema", "json_schema": form}
        if tool is not None:
            body["tools"] = [tool]
        answer = await asked(self.url, "/v1/chat/completions", body)
        return _counted(answer["choices"][0]["message"]["content"], answer["usage"])

    async def complete(self, ask: Ask) -> Truth:
        answer = await asked(self.url, "/v1/completions", {**self._body(ask, self.model), "prompt": ask.text})
        return _counted(answer["choices"][0]["text"], answer["usage"])

    async def generate(self, ask: Ask) -> Truth:
        return await self.chat(ask)

    async def embed(self, texts: Sequence[str]) -> Truth:
        answer = await asked(self.embed_url, "/v1/embeddings", {"model": self.embed_model, "input": list(texts)})
        vectors = tuple(tuple(row["embedding"]) for row in answer["data"])
        return Truth(vectors=vectors, prompt_tokens=answer["usage"]["prompt_tokens"])

    def _body(self, ask: Ask, model: str) -> Json:
        return {"model": model, "temperature": ask.temperature, "max_tokens": ask.limit}


@dataclass(frozen=True, slots=True)
class OllamaDirect:
    """An engine that speaks Ollama's own protocol."""

    url: str
    model: str
    embed_model: str

    async def chat(self, ask: Ask, schema: Json | None = None, tool: Json | None = None) -> Truth:
        extra = ({"format": schema} if schema is not None else {}) | ({"tools": [tool]} if tool is not None else {})
        body = {**self._body(ask), **extra, "messages": [{"role": "user", "content": ask.text}]}
        answer = await asked(self.url, "/api/chat", body)
        return _evaluated(answer["message"]["content"], answer)

    async def complete(self, ask: Ask) -> Truth:
        answer = await asked(self.url, "/api/generate", {**self._body(ask), "prompt": ask.text, "raw": True})
        return _evaluated(answer["response"], answer)

    async def generate(self, ask: Ask) -> Truth:
        answer = await asked(self.url, "/api/generate", {**self._body(ask), "prompt": ask.text})
        return _evaluated(answer["response"], answer)

    async def embed(self, texts: Sequence[str]) -> Truth:
        answer = await asked(self.url, "/api/embed", {"model": self.embed_model, "input": list(texts)})
        vectors = tuple(tuple(vector) for vector in answer["embeddings"])
        return Truth(vectors=vectors, prompt_tokens=answer["prompt_eval_count"])

    def _body(self, ask: Ask) -> Json:
        options = {"temperature": ask.temperature, "num_predict": ask.limit}
        return {"model": self.model, "options": options, "stream": False}


async def asked(url: str, path: str, body: Json) -> Json:
    """A good answer of an engine."""
    answer = await once(url, path, body)
    assert answer.status == 200, answer.body
    return dict(answer.json())


def _counted(text: str | None, usage: Json) -> Truth:
    return Truth(text or "", usage["prompt_tokens"], usage["completion_tokens"])


def _evaluated(text: str, answer: Json) -> Truth:
    return Truth(text, answer["prompt_eval_count"], answer["eval_count"])


@dataclass(frozen=True, slots=True)
class Column:
    """One backend, ready to be asked through the gateway and directly."""

    url: str
    """Of the gateway."""
    direct: Direct
    journal: Journal | None = None
    """What a double saw; real engines tell nobody."""
    truths: dict[str, Truth] = field(default_factory=dict)

    async def truth(self, kind: str, find: Callable[[], Awaitable[Truth]]) -> Truth:
        """Asked once of each kind."""
        if kind not in self.truths:
            self.truths[kind] = await find()
        return self.truths[kind]


def configuration(backends: Config, main: tuple[str, str], embed: tuple[str, str]) -> Config:
    """A penstock.yaml with the two aliases on (backend, model)."""
    return {
        "backends": backends,
        "aliases": {
            alias: {"targets": [{"backends": [backend], "model": model}]}
            for alias, (backend, model) in ((ALIAS, main), (EMBED_ALIAS, embed))
        },
    }


class Stage:
    """Starts each column when its first cell asks for it; ends all of them."""

    def __init__(self, folder: Path) -> None:
        self._gateways = Gateways(folder, "hot")
        self._life = AsyncExitStack()
        self._columns: dict[str, Column] = {}
        self._starting = asyncio.Lock()
        self._life.push_async_callback(self._gateways.close)

    async def close(self) -> None:
        await self._life.aclose()

    async def column(self, name: str) -> Column:
        start = {
            "embedded": self._embedded,
            "ollama": self._ollama,
            "openai": self._openai,
            "scripted": self._scripted,
        }[name]
        async with self._starting:
            if name not in self._columns:
                self._columns[name] = await start()
            return self._columns[name]

    async def vllm(self, generate: str, model: str, pooling: str, embed_model: str) -> Column:
        """In front of vLLM servers that somebody else runs."""
        backends = {"gpu": {"kind": "vllm", "url": generate}, "pool": {"kind": "vllm", "url": pooling}}
        url = await self._serve(configuration(backends, ("gpu", model), ("pool", embed_model)))
        return Column(url, OpenAIDirect(generate, model, pooling, embed_model))

    async def _embedded(self) -> Column:
        # the gateway starts engines of its own; these two are asked directly
        main = self._life.enter_context(embedded_engine("--model", "guide"))
        embed = self._life.enter_context(embedded_engine("--model", "guide", "--embedding"))
        backends = {"local": {"kind": "embedded", "model": "guide"}}
        url = await self._serve(configuration(backends, ("local", "guide"), ("local", "guide")))
        return Column(url, OpenAIDirect(main.url, "guide", embed.url, "guide"))

    async def _ollama(self) -> Column:
        embedder = OllamaModel(name="nomic-embed-text:latest", capabilities=("embedding",))
        double = await self._life.enter_async_context(OllamaDouble(["llama3.2", embedder]))
        backends = {"spare": {"kind": "ollama", "url": double.url}}
        url = await self._serve(configuration(backends, ("spare", "llama3.2"), ("spare", "nomic-embed-text")))
        return Column(url, OllamaDirect(double.url, "llama3.2", "nomic-embed-text"), double)

    async def _openai(self) -> Column:
        double = await self._life.enter_async_context(openai_engine(["gpt-test", "embed-test"]))
        backends = {"strict": {"kind": "openai", "url": double.url}}
        url = await self._serve(configuration(backends, ("strict", "gpt-test"), ("strict", "embed-test")))
        return Column(url, OpenAIDirect(double.url, "gpt-test", double.url, "embed-test"), double)

    async def _scripted(self) -> Column:
        engine = await self._life.enter_async_context(Engine(["m-large", "m-embed"]))
        backends = {"gpu": {"kind": "vllm", "url": engine.url}}
        url = await self._serve(configuration(backends, ("gpu", "m-large"), ("gpu", "m-embed")))
        return Column(url, OpenAIDirect(engine.url, "m-large", engine.url, "m-embed"), engine)

    async def _serve(self, config: Config) -> str:
        gateway = await self._gateways.start(config)
        await gateway.until("/ready", lambda page: page["status"] == "ready")
        return gateway.url
