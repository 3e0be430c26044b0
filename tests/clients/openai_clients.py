"""The official openai library, synchronous and asynchronous. It checks nothing: it does and shows."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import openai
from openai.types import Completion, CreateEmbeddingResponse
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from tests.clients.outcome import Ask, Json, Refused, Said, ToolUse

WITHIN = 30.0
BACKEND = "x-penstock-backend"
Headers = Mapping[str, str]


def _options(url: str) -> dict[str, Any]:
    return {"base_url": f"{url}/v1", "api_key": "not-needed", "max_retries": 0, "timeout": WITHIN}


def _chat(ask: Ask) -> dict[str, Any]:
    return {
        "model": ask.model,
        "messages": [{"role": "user", "content": ask.text}],
        "max_tokens": ask.limit,
        "temperature": ask.temperature,
    }


def _completion(ask: Ask) -> dict[str, Any]:
    return {"model": ask.model, "prompt": ask.text, "max_tokens": ask.limit, "temperature": ask.temperature}


def _streamed(ask: Ask) -> dict[str, Any]:
    return {**_chat(ask), "stream": True, "stream_options": {"include_usage": True}}


def _offering(ask: Ask, tool: Json, *, forced: bool) -> dict[str, Any]:
    choice = {"tool_choice": {"type": "function", "function": {"name": tool["function"]["name"]}}} if forced else {}
    return {**_chat(ask), **ask.extra, "tools": [tool], **choice}


def _schema(ask: Ask, schema: Json) -> dict[str, Any]:
    form = {"type": "json_schema", "json_schema": {"name": schema["title"], "schema": schema, "strict": True}}
    return {**_chat(ask), "response_format": form}


def _returned(asked: dict[str, Any], completion: ChatCompletion, result: str) -> dict[str, Any]:
    """The next turn: the model's calls, and a result for each."""
    message = completion.choices[0].message
    results = [{"role": "tool", "tool_call_id": call.id, "content": result} for call in message.tool_calls or ()]
    turns = [*asked["messages"], message.model_dump(exclude_none=True), *results]
    return {name: value for name, value in {**asked, "messages": turns}.items() if name != "tool_choice"}


def _said(headers: Headers, answer: ChatCompletion) -> Said:
    choice = answer.choices[0]
    calls = [call for call in choice.message.tool_calls or () if call.type == "function"]
    return Said(
        text=choice.message.content or "",
        calls=tuple(ToolUse(call.function.name, json.loads(call.function.arguments), call.id) for call in calls),
        model=answer.model,
        finish=choice.finish_reason,
        prompt_tokens=answer.usage.prompt_tokens if answer.usage else None,
        completion_tokens=answer.usage.completion_tokens if answer.usage else None,
        id=answer.id,
        backend=headers.get(BACKEND),
    )


def _completed(headers: Headers, answer: Completion) -> Said:
    return Said(
        text=answer.choices[0].text,
        model=answer.model,
        finish=answer.choices[0].finish_reason,
        prompt_tokens=answer.usage.prompt_tokens if answer.usage else None,
        completion_tokens=answer.usage.completion_tokens if answer.usage else None,
        id=answer.id,
        backend=headers.get(BACKEND),
    )


def _joined(headers: Headers, chunks: Iterable[ChatCompletionChunk]) -> Said:
    every = list(chunks)
    choices = [choice for chunk in every for choice in chunk.choices]
    pieces = [choice.delta.content for choice in choices if choice.delta.content]
    usage = next((chunk.usage for chunk in every if chunk.usage), None)
    models, ids = {chunk.model for chunk in every}, {chunk.id for chunk in every}
    return Said(
        text="".join(pieces),
        pieces=len(pieces),
        model=", ".join(sorted(models)),
        finish=next((choice.finish_reason for choice in choices if choice.finish_reason), None),
        prompt_tokens=usage.prompt_tokens if usage else None,
        completion_tokens=usage.completion_tokens if usage else None,
        id=ids.pop() if len(ids) == 1 else None,
        backend=headers.get(BACKEND),
    )


def _embedded(headers: Headers, answer: CreateEmbeddingResponse) -> Said:
    assert [one.index for one in answer.data] == list(range(len(answer.data)))
    return Said(
        vectors=tuple(tuple(one.embedding) for one in answer.data),
        model=answer.model,
        prompt_tokens=answer.usage.prompt_tokens,
        backend=headers.get(BACKEND),
    )


class OpenAISync:
    """`openai.OpenAI`."""

    error = openai.APIStatusError

    def __init__(self, url: str) -> None:
        self._client = openai.OpenAI(**_options(url))

    def close(self) -> None:
        self._client.close()

    def _whole(self, asked: dict[str, Any]) -> tuple[Headers, ChatCompletion]:
        raw = self._client.chat.completions.with_raw_response.create(**asked)
        return raw.headers, raw.parse()

    def chat(self, ask: Ask) -> Said:
        return _said(*self._whole(_chat(ask)))

    def generate(self, ask: Ask) -> Said:
        raw = self._client.completions.with_raw_response.create(**_completion(ask))
        return _completed(raw.headers, raw.parse())

    def stream(self, ask: Ask) -> Said:
        raw = self._client.chat.completions.with_raw_response.create(**_streamed(ask))
        return _joined(raw.headers, raw.parse())

    def tools(self, ask: Ask, tool: Json, result: str, *, forced: bool) -> tuple[Said, Said]:
        asked = _offering(ask, tool, forced=forced)
        headers, first = self._whole(asked)
        return _said(headers, first), _said(*self._whole(_returned(asked, first, result)))

    def schema(self, ask: Ask, schema: Json) -> Said:
        return _said(*self._whole(_schema(ask, schema)))

    def embed(self, model: str, texts: Sequence[str]) -> Said:
        raw = self._client.embeddings.with_raw_response.create(model=model, input=list(texts))
        return _embedded(raw.headers, raw.parse())

    def refused(self, error: Exception) -> Refused:
        return refused(error)


class OpenAIAsync:
    """`openai.AsyncOpenAI`."""

    error = openai.APIStatusError

    def __init__(self, url: str) -> None:
        self._client = openai.AsyncOpenAI(**_options(url))

    async def close(self) -> None:
        await self._client.close()

    async def _whole(self, asked: dict[str, Any]) -> tuple[Headers, ChatCompletion]:
        raw = await self._client.chat.completions.with_raw_response.create(**asked)
        return raw.headers, raw.parse()

    async def chat(self, ask: Ask) -> Said:
        return _said(*await self._whole(_chat(ask)))

    async def generate(self, ask: Ask) -> Said:
        raw = await self._client.completions.with_raw_response.create(**_completion(ask))
        return _completed(raw.headers, raw.parse())

    async def stream(self, ask: Ask) -> Said:
        raw = await self._client.chat.completions.with_raw_response.create(**_streamed(ask))
        return _joined(raw.headers, [chunk async for chunk in raw.parse()])

    async def tools(self, ask: Ask, tool: Json, result: str, *, forced: bool) -> tuple[Said, Said]:
        asked = _offering(ask, tool, forced=forced)
        headers, first = await self._whole(asked)
        return _said(headers, first), _said(*await self._whole(_returned(asked, first, result)))

    async def schema(self, ask: Ask, schema: Json) -> Said:
        return _said(*await self._whole(_schema(ask, schema)))

    async def embed(self, model: str, texts: Sequence[str]) -> Said:
        raw = await self._client.embeddings.with_raw_response.create(model=model, input=list(texts))
        return _embedded(raw.headers, raw.parse())

    def refused(self, error: Exception) -> Refused:
        return refused(error)


def refused(error: Exception) -> Refused:
    """The library's exception; LangChain's are subclasses of it."""
    assert isinstance(error, openai.APIStatusError)
    body = error.body
    message = body["message"] if isinstance(body, dict) else error.message
    return Refused(status=error.status_code, message=str(message), error=type(error).__name__)
