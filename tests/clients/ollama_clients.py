"""The official ollama library, synchronous and asynchronous. It checks nothing: it does and shows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import ollama
from ollama import ChatResponse, EmbedResponse, GenerateResponse
from tests.clients.outcome import Ask, Json, Refused, Said, ToolUse

WITHIN = 30.0


def _options(ask: Ask) -> dict[str, Any]:
    return {"temperature": ask.temperature, "num_predict": ask.limit}


def _chat(ask: Ask) -> dict[str, Any]:
    return {"model": ask.model, "messages": [{"role": "user", "content": ask.text}], "options": _options(ask)}


def durations(answer: ChatResponse | GenerateResponse | EmbedResponse) -> dict[str, int]:
    return {name: value for name, value in answer.model_dump(exclude_none=True).items() if name.endswith("_duration")}


def _said(answer: ChatResponse) -> Said:
    calls = answer.message.tool_calls or ()
    return Said(
        text=answer.message.content or "",
        calls=tuple(ToolUse(call.function.name, dict(call.function.arguments), None) for call in calls),
        model=answer.model,
        finish=answer.done_reason,
        prompt_tokens=answer.prompt_eval_count,
        completion_tokens=answer.eval_count,
        durations=durations(answer),
    )


def _generated(answer: GenerateResponse) -> Said:
    return Said(
        text=answer.response or "",
        model=answer.model,
        finish=answer.done_reason,
        prompt_tokens=answer.prompt_eval_count,
        completion_tokens=answer.eval_count,
        durations=durations(answer),
    )


def _joined(chunks: Iterable[ChatResponse]) -> Said:
    every = list(chunks)
    last = every[-1]
    pieces = [chunk.message.content for chunk in every if chunk.message.content]
    assert [chunk.done for chunk in every] == [False] * (len(every) - 1) + [True]
    return Said(
        text="".join(pieces),
        pieces=len(pieces),
        model=", ".join(sorted({chunk.model or "" for chunk in every})),
        finish=last.done_reason,
        prompt_tokens=last.prompt_eval_count,
        completion_tokens=last.eval_count,
        durations=durations(last),
    )


def _returned(asked: dict[str, Any], answer: ChatResponse, result: str) -> dict[str, Any]:
    """The next turn as the library's own examples write it: no ids, the tool's name instead."""
    calls = answer.message.tool_calls or ()
    results = [{"role": "tool", "content": result, "tool_name": call.function.name} for call in calls]
    return {**asked, "messages": [*asked["messages"], answer.message, *results]}


def _embedded(answer: EmbedResponse) -> Said:
    return Said(
        vectors=tuple(tuple(vector) for vector in answer.embeddings),
        model=answer.model,
        prompt_tokens=answer.prompt_eval_count,
        durations=durations(answer),
    )


class OllamaSync:
    """`ollama.Client`."""

    error = ollama.ResponseError

    def __init__(self, url: str) -> None:
        self._client = ollama.Client(url, timeout=WITHIN)

    def close(self) -> None:
        self._client.close()  # type: ignore[no-untyped-call]

    def chat(self, ask: Ask) -> Said:
        return _said(self._client.chat(**_chat(ask)))

    def generate(self, ask: Ask) -> Said:
        return _generated(self._client.generate(model=ask.model, prompt=ask.text, options=_options(ask)))

    def stream(self, ask: Ask) -> Said:
        return _joined(self._client.chat(**_chat(ask), stream=True))

    def tools(self, ask: Ask, tool: Json, result: str, *, forced: bool) -> tuple[Said, Said]:
        assert not forced, "Ollama's protocol cannot force a call"
        asked = {**_chat(ask), "tools": [tool]}
        first = self._client.chat(**asked)
        return _said(first), _said(self._client.chat(**_returned(asked, first, result)))

    def schema(self, ask: Ask, schema: Json) -> Said:
        return _said(self._client.chat(**_chat(ask), format=schema))

    def embed(self, model: str, texts: Sequence[str]) -> Said:
        return _embedded(self._client.embed(model=model, input=texts))

    def refused(self, error: Exception) -> Refused:
        return refused(error)


class OllamaAsync:
    """`ollama.AsyncClient`."""

    error = ollama.ResponseError

    def __init__(self, url: str) -> None:
        self._client = ollama.AsyncClient(url, timeout=WITHIN)

    async def close(self) -> None:
        await self._client.close()  # type: ignore[no-untyped-call]

    async def chat(self, ask: Ask) -> Said:
        return _said(await self._client.chat(**_chat(ask)))

    async def generate(self, ask: Ask) -> Said:
        return _generated(await self._client.generate(model=ask.model, prompt=ask.text, options=_options(ask)))

    async def stream(self, ask: Ask) -> Said:
        return _joined([chunk async for chunk in await self._client.chat(**_chat(ask), stream=True)])

    async def tools(self, ask: Ask, tool: Json, result: str, *, forced: bool) -> tuple[Said, Said]:
        assert not forced, "Ollama's protocol cannot force a call"
        asked = {**_chat(ask), "tools": [tool]}
        first = await self._client.chat(**asked)
        return _said(first), _said(await self._client.chat(**_returned(asked, first, result)))

    async def schema(self, ask: Ask, schema: Json) -> Said:
        return _said(await self._client.chat(**_chat(ask), format=schema))

    async def embed(self, model: str, texts: Sequence[str]) -> Said:
        return _embedded(await self._client.embed(model=model, input=texts))

    def refused(self, error: Exception) -> Refused:
        return refused(error)


def refused(error: Exception) -> Refused:
    """The library's only exception for an answer with an error status."""
    assert isinstance(error, ollama.ResponseError)
    return Refused(status=error.status_code, message=error.error, error=type(error).__name__)
