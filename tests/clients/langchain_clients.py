"""LangChain's two packages over the same gateway. It checks nothing: it does and shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import httpx2
import ollama
import openai
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, ToolMessage
from langchain_ollama import ChatOllama, OllamaEmbeddings, OllamaLLM
from langchain_openai import ChatOpenAI, OpenAI, OpenAIEmbeddings
from pydantic import SecretStr
from tests.clients import ollama_clients, openai_clients
from tests.clients.openai_clients import BACKEND, WITHIN
from tests.clients.outcome import Ask, Json, Refused, Said, ToolUse


def _calls(message: AIMessage) -> tuple[ToolUse, ...]:
    return tuple(ToolUse(call["name"], dict(call["args"]), call["id"]) for call in message.tool_calls)


def _durations(shown: Mapping[str, Any]) -> dict[str, int]:
    return {name: value for name, value in shown.items() if name.endswith("_duration") and value is not None}


def _returned(ask: Ask, first: AIMessage, result: str) -> list[BaseMessage]:
    results = [ToolMessage(result, tool_call_id=call["id"], name=call["name"]) for call in first.tool_calls]
    return [HumanMessage(ask.text), first, *results]


def _merged(chunks: Sequence[AIMessageChunk]) -> AIMessageChunk:
    """The sum of a stream's chunks, as LangChain's users make it."""
    whole = chunks[0]
    for chunk in chunks[1:]:
        added = whole + chunk
        assert isinstance(added, AIMessageChunk)
        whole = added
    return whole


class LangchainOpenAI:
    """`ChatOpenAI`, `OpenAI` and `OpenAIEmbeddings` of langchain_openai."""

    error = openai.APIStatusError

    def __init__(self, url: str) -> None:
        self._http = httpx2.Client(timeout=WITHIN)
        self._common: dict[str, Any] = {
            "base_url": f"{url}/v1", "api_key": SecretStr("not-needed"), "max_retries": 0, "http_client": self._http,
        }  # fmt: skip

    def close(self) -> None:
        self._http.close()

    def _model(self, ask: Ask, **more: Any) -> ChatOpenAI:  # noqa: ANN401 - the class' own settings
        return ChatOpenAI(model=ask.model, include_response_headers=True, **self._common, **more)

    def _parameters(self, ask: Ask) -> dict[str, Any]:
        return {"temperature": ask.temperature, "max_tokens": ask.limit}

    def chat(self, ask: Ask) -> Said:
        return self._said(self._model(ask).invoke(ask.text, **self._parameters(ask)))

    def generate(self, ask: Ask) -> Said:
        model = OpenAI(model=ask.model, **self._common)
        result = model.generate([ask.text], **self._parameters(ask))
        shown, first = result.llm_output or {}, result.generations[0][0]
        usage = shown.get("token_usage", {})
        return Said(
            text=first.text,
            finish=(first.generation_info or {}).get("finish_reason"),
            prompt_tokens=usage.get("prompt_tokens"),
            completion_tokens=usage.get("completion_tokens"),
        )

    def stream(self, ask: Ask) -> Said:
        chunks = list(self._model(ask).stream(ask.text, stream_usage=True, **self._parameters(ask)))
        return self._said(_merged(chunks), pieces=sum(bool(chunk.content) for chunk in chunks))

    def tools(self, ask: Ask, tool: Json, result: str, *, forced: bool) -> tuple[Said, Said]:
        choice = tool["function"]["name"] if forced else None
        model, plain = self._model(ask), self._parameters(ask) | ask.extra
        first = model.bind_tools([tool], tool_choice=choice).invoke(ask.text, **plain)
        second = model.bind_tools([tool]).invoke(_returned(ask, first, result), **plain)
        return self._said(first), self._said(second)

    def schema(self, ask: Ask, schema: Json) -> Said:
        # what is given to invoke() does not reach the model behind a structured output
        model = self._model(ask, temperature=ask.temperature, max_tokens=ask.limit)
        structured = model.with_structured_output(schema, method="json_schema", include_raw=True)
        return _structured(structured.invoke(ask.text), self._said)

    def embed(self, model: str, texts: Sequence[str]) -> Said:
        # token ids, which it would send otherwise, come from OpenAI's own tokenizer
        embeddings = OpenAIEmbeddings(model=model, check_embedding_ctx_length=False, **self._common)
        return Said(vectors=tuple(map(tuple, embeddings.embed_documents(list(texts)))))

    def refused(self, error: Exception) -> Refused:
        return openai_clients.refused(error)

    def _said(self, message: BaseMessage, pieces: int = 0) -> Said:
        shown = message.response_metadata
        return replace(
            _heard(message, pieces),
            model=shown.get("model_name"),
            finish=shown.get("finish_reason"),
            id=message.id,
            backend=shown.get("headers", {}).get(BACKEND),
        )


class LangchainOllama:
    """`ChatOllama`, `OllamaLLM` and `OllamaEmbeddings` of langchain_ollama."""

    error = ollama.ResponseError

    def __init__(self, url: str) -> None:
        self._common: dict[str, Any] = {"base_url": url, "client_kwargs": {"timeout": WITHIN}}
        self._made: list[ChatOllama | OllamaLLM | OllamaEmbeddings] = []

    def close(self) -> None:
        for made in self._made:
            made._client.close()  # type: ignore[union-attr]

    def _model(self, ask: Ask, **more: Any) -> ChatOllama:  # noqa: ANN401 - the class' own settings
        model = ChatOllama(model=ask.model, **self._common, **more)
        self._made.append(model)
        return model

    def _parameters(self, ask: Ask) -> dict[str, Any]:
        return {"options": {"temperature": ask.temperature, "num_predict": ask.limit}}

    def chat(self, ask: Ask) -> Said:
        return self._said(self._model(ask).invoke(ask.text, **self._parameters(ask)))

    def generate(self, ask: Ask) -> Said:
        model = OllamaLLM(model=ask.model, **self._common)
        self._made.append(model)
        result = model.generate([ask.text], **self._parameters(ask)).generations[0][0]
        shown = result.generation_info or {}
        return Said(
            text=result.text,
            model=shown.get("model"),
            finish=shown.get("done_reason"),
            prompt_tokens=shown.get("prompt_eval_count"),
            completion_tokens=shown.get("eval_count"),
            durations=_durations(shown),
        )

    def stream(self, ask: Ask) -> Said:
        chunks = list(self._model(ask).stream(ask.text, **self._parameters(ask)))
        return self._said(_merged(chunks), pieces=sum(bool(chunk.content) for chunk in chunks))

    def tools(self, ask: Ask, tool: Json, result: str, *, forced: bool) -> tuple[Said, Said]:
        assert not forced, "Ollama's protocol cannot force a call"
        model = self._model(ask).bind_tools([tool])
        first = model.invoke(ask.text, **self._parameters(ask))
        second = model.invoke(_returned(ask, first, result), **self._parameters(ask))
        return self._said(first), self._said(second)

    def schema(self, ask: Ask, schema: Json) -> Said:
        model = self._model(ask, temperature=ask.temperature, num_predict=ask.limit)
        structured = model.with_structured_output(schema, method="json_schema", include_raw=True)
        return _structured(structured.invoke(ask.text), self._said)

    def embed(self, model: str, texts: Sequence[str]) -> Said:
        embeddings = OllamaEmbeddings(model=model, **self._common)
        self._made.append(embeddings)
        return Said(vectors=tuple(map(tuple, embeddings.embed_documents(list(texts)))))

    def refused(self, error: Exception) -> Refused:
        return ollama_clients.refused(error)

    def _said(self, message: BaseMessage, pieces: int = 0) -> Said:
        shown = message.response_metadata
        return replace(
            _heard(message, pieces),
            model=shown.get("model"),
            finish=shown.get("done_reason"),
            durations=_durations(shown),
        )


def _heard(message: BaseMessage, pieces: int) -> Said:
    """What both of LangChain's integrations put in the same place."""
    assert isinstance(message, AIMessage)
    usage = message.usage_metadata
    return Said(
        text=str(message.content),
        pieces=pieces,
        calls=_calls(message),
        prompt_tokens=usage["input_tokens"] if usage else None,
        completion_tokens=usage["output_tokens"] if usage else None,
    )


def _structured(found: object, said: Callable[[BaseMessage], Said]) -> Said:
    assert isinstance(found, dict)
    return replace(said(found["raw"]), parsed=found["parsed"])
