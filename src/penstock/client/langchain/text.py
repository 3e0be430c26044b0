"""`VLLMClient` where code expects `langchain_ollama.OllamaLLM`: text in, text out, as a LangChain LLM."""

# ruff: noqa: ANN401
# The signatures are LangChain's.

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from typing import Any, ClassVar, Literal

import msgspec
from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseLLM, LangSmithParams, LanguageModelInput
from langchain_core.outputs import Generation, GenerationChunk, LLMResult
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import ContextThreadPoolExecutor
from pydantic import BaseModel

from penstock.client.answer import Answer
from penstock.client.ask import Ask, Message
from penstock.client.langchain import call, structured
from penstock.client.langchain.fields import JsonSchema
from penstock.client.langchain.speech import Speech, joined, left
from penstock.client.langchain.tokens import EngineTokens
from penstock.client.langchain.told import Clock, Ending, logprobs
from penstock.client.plain import CONCURRENCY
from penstock.types import Kind


class TextModel(EngineTokens, BaseLLM):
    """An engine as a LangChain LLM. The chat template is applied to each prompt; `raw=True` sends it as it stands (X6)."""

    raw: bool = False
    format: Literal["", "json"] | JsonSchema | None = ""
    """`"json"`, or a JSON schema that the answer must satisfy."""

    @property
    def _llm_type(self) -> str:
        return f"penstock-{self._kind.value}"

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params = super()._get_ls_params(stop=stop, **kwargs)
        params["ls_provider"] = self._kind.value
        if limit := kwargs.get("num_predict", kwargs.get("max_tokens", self._default.options.max_tokens)):
            params["ls_max_tokens"] = limit
        return params

    # each input of a batch is a call of its own, with its own configuration, callbacks and error

    def batch(
        self,
        inputs: list[LanguageModelInput],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[str]:
        return Runnable.batch(self, inputs, config, return_exceptions=return_exceptions, **kwargs)

    async def abatch(
        self,
        inputs: list[LanguageModelInput],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[str]:
        return await Runnable.abatch(self, inputs, config, return_exceptions=return_exceptions, **kwargs)

    def with_structured_output(
        self,
        schema: dict[str, Any] | type,
        *,
        method: Literal["function_calling", "json_mode", "json_schema"] = "json_schema",
        include_raw: bool = False,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, dict[str, Any] | BaseModel]:
        """Answers that fit the schema; `function_calling` needs messages, so ChatVLLM has it."""
        structured.refused(kwargs)
        if method == "function_calling":
            raise ValueError("method='function_calling' needs a chat model: use ChatVLLM, or method='json_schema'.")
        wanted = structured.wanted(schema, method)
        return structured.parsed(self.bind(format=wanted.format), wanted.parser, include_raw=include_raw)

    # LangChain's hooks

    def _generate(
        self,
        prompts: list[str],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> LLMResult:
        if call.listened_to(run_manager):  # one after the other, because all tokens go to the first prompt's run
            return _result([joined(self._stream(prompt, stop, run_manager, **kwargs)) for prompt in prompts])
        asks = [self._ask(prompt, stop, kwargs) for prompt in prompts]
        if len(asks) == 1:
            return _result([self._whole(asks[0])])
        with ContextThreadPoolExecutor(min(CONCURRENCY, len(asks))) as pool:
            return _result(list(pool.map(self._whole, asks)))

    async def _agenerate(
        self,
        prompts: list[str],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> LLMResult:
        if call.listened_to(run_manager):
            streams = [self._astream(prompt, stop, run_manager, **kwargs) for prompt in prompts]
            return _result([joined([chunk async for chunk in stream]) for stream in streams])
        asks = [self._ask(prompt, stop, kwargs) for prompt in prompts]
        if len(asks) == 1:
            return _result([await self._awhole(asks[0])])
        return _result(await self._all(asks))

    def _stream(
        self,
        prompt: str,
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[GenerationChunk]:
        ask = self._ask(prompt, stop, kwargs)
        speech = self._speech(ask)
        with left(self._engines.stream(ask)) as pieces:
            for piece in pieces:
                if chunk := speech.text(piece):
                    if run_manager:
                        run_manager.on_llm_new_token(chunk.text, chunk=chunk, verbose=self.verbose)
                    yield chunk
        last = speech.last_text()
        if run_manager:
            run_manager.on_llm_new_token("", chunk=last, verbose=self.verbose)
        yield last

    async def _astream(
        self,
        prompt: str,
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[GenerationChunk]:
        ask = self._ask(prompt, stop, kwargs)
        speech = self._speech(ask)
        async with aclosing(self._engines.astream(ask)) as pieces:
            async for piece in pieces:
                if chunk := speech.text(piece):
                    if run_manager:
                        await run_manager.on_llm_new_token(chunk.text, chunk=chunk, verbose=self.verbose)
                    yield chunk
        last = speech.last_text()
        if run_manager:
            await run_manager.on_llm_new_token("", chunk=last, verbose=self.verbose)
        yield last

    def _ask(self, prompt: str, stop: list[str] | None, given: dict[str, Any]) -> Ask:
        images = given.pop("images", None)
        ask = call.asked(self._default, self.stop, stop, given)
        if images:
            return msgspec.structs.replace(ask, messages=(Message("user", prompt, tuple(images)),))
        return msgspec.structs.replace(ask, prompt=prompt)

    def _speech(self, ask: Ask) -> Speech:
        return Speech(thinking=ask.thinking is not False, logprobs=ask.logprobs is not None)

    def _whole(self, ask: Ask) -> Generation:
        clock = Clock()
        return _generation(self._engines.ask(ask), ask, clock)

    async def _awhole(self, ask: Ask) -> Generation:
        clock = Clock()
        return _generation(await self._engines.aask(ask), ask, clock)

    async def _all(self, asks: list[Ask]) -> list[Generation]:
        """Every answer, several at a time; the first failure ends the others and is raised as it is."""
        room = asyncio.Semaphore(CONCURRENCY)

        async def one(ask: Ask) -> Generation:
            async with room:
                return await self._awhole(ask)

        tasks = [asyncio.ensure_future(one(ask)) for ask in asks]
        try:
            return list(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


class VLLMClient(TextModel):
    """vLLM, or a gateway in front of it, where code expects `OllamaLLM`."""


class OllamaClient(TextModel):
    """Ollama in its own protocol, with the same retries and limits."""

    _kind: ClassVar[Kind] = Kind.OLLAMA


def _generation(answer: Answer, ask: Ask, clock: Clock) -> Generation:
    info = Ending.of(answer).info(clock)
    if answer.thinking and ask.thinking is not False:
        info["thinking"] = answer.thinking
    if ask.logprobs is not None and (found := logprobs(answer.source, answer.body)) is not None:
        info["logprobs"] = found
    return Generation(text=answer.text, generation_info=info)


def _result(generations: list[Generation] | list[GenerationChunk]) -> LLMResult:
    """The generations, with the counts of all of them together."""
    infos = [generation.generation_info or {} for generation in generations]
    spent = {
        "prompt_tokens": sum(info.get("prompt_eval_count", 0) for info in infos),
        "completion_tokens": sum(info.get("eval_count", 0) for info in infos),
    }
    counted = any("eval_count" in info for info in infos)
    usage = {**spent, "total_tokens": sum(spent.values())} if counted else {}
    model = next((info["model_name"] for info in infos if "model_name" in info), None)
    return LLMResult(
        generations=[[generation] for generation in generations],
        llm_output={"model_name": model, "token_usage": usage},
    )
