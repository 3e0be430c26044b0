"""`ChatVLLM` where code expects `langchain_ollama.ChatOllama`: messages in, a message out, as a LangChain chat model."""

# ruff: noqa: ANN401
# The signatures are LangChain's.

from __future__ import annotations

import warnings
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing
from typing import Any, ClassVar, Literal, Self

import msgspec
from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LangSmithParams, LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.output_parsers import JsonOutputKeyToolsParser, PydanticToolsParser
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.outputs.chat_generation import merge_chat_generation_chunks
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import BaseModel, field_validator, model_validator

from penstock.client.answer import Answer
from penstock.client.ask import Ask
from penstock.client.langchain import call, structured
from penstock.client.langchain.fields import JsonSchema
from penstock.client.langchain.speech import Speech, left
from penstock.client.langchain.tokens import EngineTokens
from penstock.client.langchain.told import Clock, Ending, logprobs, tool_calls
from penstock.client.langchain.turns import turns
from penstock.errors import BrokenAnswer
from penstock.types import Kind


class ChatModel(EngineTokens, BaseChatModel):
    """An engine as a LangChain chat model."""

    logprobs: bool | None = None
    top_logprobs: int | None = None
    format: Literal["", "json"] | JsonSchema | None = None

    @field_validator("top_logprobs")
    @classmethod
    def _some(cls, given: int | None) -> int | None:
        if given is not None and given < 1:
            raise ValueError("`top_logprobs` must be a positive integer.")
        return given

    @model_validator(mode="after")
    def _both_logprobs(self) -> Self:
        if self.top_logprobs is None or self.logprobs:
            return self
        if self.logprobs is False:
            raise ValueError("`top_logprobs` is set but `logprobs` is explicitly `False`.")
        warnings.warn(
            "`top_logprobs` is set but `logprobs` was not explicitly enabled. Setting `logprobs=True` automatically.",
            UserWarning,
            stacklevel=2,
        )
        self.logprobs = True
        return self

    @property
    def _llm_type(self) -> str:
        return f"penstock-chat-{self._kind.value}"

    def _given(self) -> dict[str, Any]:
        return {**super()._given(), "logprobs": call.alternatives(self.logprobs, self.top_logprobs)}

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params = super()._get_ls_params(stop=stop or self.stop, **kwargs)
        params["ls_provider"] = self._kind.value
        params["ls_temperature"] = kwargs.get("temperature", self._default.options.temperature)
        return params

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: dict[str, Any] | str | Literal["auto", "any"] | bool | None = None,  # noqa: PYI051 - ChatOllama's own
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Offer tools to the model. Unlike Ollama, vLLM honours `tool_choice`: a tool's name, `any`, `none`."""
        offered = [convert_to_openai_tool(tool, strict=kwargs.get("strict")) for tool in tools]
        if tool_choice is not None and tool_choice is not False:
            kwargs["tool_choice"] = _choice(tool_choice, [tool["function"]["name"] for tool in offered])
        return super().bind(tools=offered, **kwargs)

    def with_structured_output(
        self,
        schema: dict[str, Any] | type,
        *,
        method: Literal["function_calling", "json_mode", "json_schema"] = "json_schema",
        include_raw: bool = False,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, dict[str, Any] | BaseModel]:
        """Answers that fit the schema: by the engine's grammar, by a forced tool call, or by asking for JSON."""
        structured.refused(kwargs)
        if method == "function_calling":
            return self._by_call(schema, include_raw=include_raw, strict=kwargs.get("strict", True))
        wanted = structured.wanted(schema, method)
        traced = {"kwargs": {"method": method}, "schema": wanted.schema}
        bound = self.bind(format=wanted.format, ls_structured_output_format=traced)
        return structured.parsed(bound, wanted.parser, include_raw=include_raw)

    def _by_call(
        self, schema: dict[str, Any] | type | None, *, include_raw: bool, strict: bool | None
    ) -> structured.Parsed:
        """By a forced call; strict, because only then vLLM holds the arguments to their schema."""
        if schema is None:
            raise ValueError("schema must be specified when method is not 'json_mode'. Received None.")
        tool = convert_to_openai_tool(schema)
        if strict:
            tool = {**tool, "function": {**tool["function"], "strict": True}}
        name = tool["function"]["name"]
        traced = {"kwargs": {"method": "function_calling"}, "schema": tool}
        bound = self.bind_tools([tool], tool_choice=name, ls_structured_output_format=traced)
        model = structured.model_of(schema)
        if model:
            return structured.parsed(
                bound, PydanticToolsParser(tools=[model], first_tool_only=True), include_raw=include_raw
            )
        return structured.parsed(
            bound, JsonOutputKeyToolsParser(key_name=name, first_tool_only=True), include_raw=include_raw
        )

    # LangChain's hooks

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        if call.listened_to(run_manager):
            return _result(_joined(list(self._stream(messages, stop, run_manager, **kwargs))))
        ask, clock = self._ask(messages, stop, kwargs), Clock()
        return _result(_generation(self._engines.ask(ask), ask, clock))

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        if call.listened_to(run_manager):
            return _result(_joined([chunk async for chunk in self._astream(messages, stop, run_manager, **kwargs)]))
        ask, clock = self._ask(messages, stop, kwargs), Clock()
        return _result(_generation(await self._engines.aask(ask), ask, clock))

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        ask = self._ask(messages, stop, kwargs)
        speech = self._speech(ask)
        with left(self._engines.stream(ask)) as pieces:
            for piece in pieces:
                if chunk := speech.message(piece):
                    if run_manager:
                        run_manager.on_llm_new_token(chunk.text, chunk=chunk, verbose=self.verbose)
                    yield chunk
        last = speech.last_message()
        if run_manager:
            run_manager.on_llm_new_token("", chunk=last, verbose=self.verbose)
        yield last

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        ask = self._ask(messages, stop, kwargs)
        speech = self._speech(ask)
        async with aclosing(self._engines.astream(ask)) as pieces:
            async for piece in pieces:
                if chunk := speech.message(piece):
                    if run_manager:
                        await run_manager.on_llm_new_token(chunk.text, chunk=chunk, verbose=self.verbose)
                    yield chunk
        last = speech.last_message()
        if run_manager:
            await run_manager.on_llm_new_token("", chunk=last, verbose=self.verbose)
        yield last

    def _ask(self, messages: list[BaseMessage], stop: list[str] | None, given: dict[str, Any]) -> Ask:
        ask = call.asked(self._default, self.stop, stop, given)
        return msgspec.structs.replace(ask, messages=turns(messages))

    def _speech(self, ask: Ask) -> Speech:
        return Speech(thinking=ask.thinking is not False, logprobs=ask.logprobs is not None)


class ChatVLLM(ChatModel):
    """vLLM, or a gateway in front of it, where code expects `ChatOllama`."""


class ChatOllamaClient(ChatModel):
    """Ollama in its own protocol, with the same retries and limits."""

    _kind: ClassVar[Kind] = Kind.OLLAMA


def _choice(wanted: dict[str, Any] | str | bool, names: list[str]) -> object:  # noqa: FBT001 - ChatOllama's own
    if isinstance(wanted, str) and wanted in names:
        return {"type": "function", "function": {"name": wanted}}
    return "required" if wanted is True or wanted == "any" else wanted


def _generation(answer: Answer, ask: Ask, clock: Clock) -> ChatGeneration:
    ending = Ending.of(answer)
    info = ending.info(clock)
    if ask.logprobs is not None and (found := logprobs(answer.source, answer.body)) is not None:
        info["logprobs"] = found
    good, bad = tool_calls(answer.tool_calls) if answer.tool_calls else ([], [])
    thinking = answer.thinking if ask.thinking is not False else ""
    message = AIMessage(
        content=answer.text,
        additional_kwargs={"reasoning_content": thinking} if thinking else {},
        tool_calls=good,
        invalid_tool_calls=bad,
        usage_metadata=ending.usage_metadata(),
    )
    return ChatGeneration(message=message, generation_info=info)


def _joined(chunks: list[ChatGenerationChunk]) -> ChatGeneration:
    """The chunks of a stream as one whole message."""
    whole = merge_chat_generation_chunks(chunks)
    if whole is None:
        raise BrokenAnswer("The stream ended without a piece.")
    merged = whole.message
    if not isinstance(merged, AIMessageChunk):
        raise TypeError(f"the chunks of an answer came to {type(merged).__name__}")
    message = AIMessage(
        content=merged.content,
        additional_kwargs=merged.additional_kwargs,
        tool_calls=merged.tool_calls,
        invalid_tool_calls=merged.invalid_tool_calls,
        usage_metadata=merged.usage_metadata,
    )
    return ChatGeneration(message=message, generation_info=whole.generation_info)


def _result(generation: ChatGeneration) -> ChatResult:
    return ChatResult(generations=[generation])
