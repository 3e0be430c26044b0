"""The clients without LangChain: the same names, invoke/ainvoke/stream/astream/batch/abatch, no further dependency.

What only LangChain's classes have, says which extra to install.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, ClassVar, TypeAlias

import msgspec

from penstock import environment
from penstock.client import arguments
from penstock.client.answer import Answer, Piece
from penstock.client.ask import Ask
from penstock.client.codec import Served
from penstock.client.counts import Counted
from penstock.client.engines import Count
from penstock.client.openai_codec import DEFAULT_TOKENS
from penstock.client.place import Target
from penstock.types import Kind

Config: TypeAlias = "Mapping[str, Any] | Sequence[Mapping[str, Any]] | None"
"""LangChain's RunnableConfig; of it, only `max_concurrency` means something here."""
CONCURRENCY = 16
"""Calls of a batch at a time, where `config["max_concurrency"]` says nothing."""
LANGCHAIN = frozenset({
    "abatch_as_completed", "agenerate", "agenerate_prompt", "as_tool", "asdict", "assign", "astream_events", "astream_log",
    "atransform", "batch_as_completed", "bind", "bind_tools", "config_schema", "configurable_alternatives",
    "configurable_fields", "dict", "generate", "generate_prompt", "get_config_jsonschema", "get_graph", "get_input_jsonschema",
    "get_input_schema", "get_lc_namespace", "get_name", "get_num_tokens", "get_num_tokens_from_messages",
    "get_output_jsonschema", "get_output_schema", "get_prompts", "get_token_ids", "is_lc_serializable", "lc_id", "map",
    "pick", "pipe", "save", "set_verbose", "stream_events", "to_json", "to_json_not_implemented", "transform",
    "with_alisteners", "with_config", "with_fallbacks", "with_listeners", "with_retry", "with_structured_output",
    "with_types",
})  # fmt: skip
"""Of LangChain's surface, what the plain classes lack."""


class _Client:
    """What all plain clients share."""

    kind: ClassVar[Kind] = Kind.VLLM

    def __init__(  # noqa: PLR0913 - the documents' arguments, all by name
        self,
        model: str | None = None,
        *,
        base_url: str | None = None,
        host: str | None = None,
        api_key: str | None = None,
        timeout: float | None = 90.0,
        retry_attempts: int = 3,
        retry_delay: float = 1.0,
        connect_timeout: float = 2.0,
        fallback: str | Target | None = None,
        fallback_model: str | None = None,
        fallback_policy: str = "any",
        verify: bool | str = True,
        validate_model_on_init: bool = False,
        **options: object,
    ) -> None:
        self.model = model or environment.DEFAULT_MODELS[self.kind]
        usual, key = ("", "") if base_url or host else arguments.usual(self.kind, os.environ)
        self.base_url = arguments.one_url(usual, base_url=base_url, host=host)
        self.engines = arguments.engines(
            self.kind,
            self.model,
            self.base_url,
            api_key=api_key or key,
            fallback=fallback,
            fallback_model=fallback_model,
            fallback_policy=fallback_policy,
            timeout=timeout,
            retry_attempts=retry_attempts,
            retry_delay=retry_delay,
            connect_timeout=connect_timeout,
            verify=verify,
        )
        self._default = arguments.asked(Ask(), {**self._usual_options(), **options})
        if validate_model_on_init:
            self.check()

    @classmethod
    def _usual_options(cls) -> Mapping[str, Any]:
        return {"temperature": 0.0, **arguments.DEFAULT_OPTIONS}

    @property
    def counts(self) -> Counted:
        """Calls, retries and fallbacks so far."""
        return self.engines.counts.now()

    def check(self) -> list[Served]:
        """What the engine serves; raises where it does not answer or lacks the model."""
        return self.engines.check()

    async def acheck(self) -> list[Served]:
        return await self.engines.acheck()

    def fit(
        self,
        messages: Sequence[Any],
        *,
        reserve: int | None = None,
        count: Count | None = None,
        window: int | None = None,
    ) -> list[Any]:
        """The messages without the oldest exchanges that leave no room for the answer (S0.11, H4).

        `reserve` is the answer's tokens; without it, what `max_tokens` says, else 512. The engine counts; where it
        cannot (Ollama), give `count` and `window`, or get an error. What the system says and the last question stay.
        """
        ask = msgspec.structs.replace(self._default, messages=arguments.messages(messages))
        indices = self.engines.fit(ask, reserve=self._reserved(reserve), count=count, window=window)
        return [messages[index] for index in indices]

    async def afit(
        self,
        messages: Sequence[Any],
        *,
        reserve: int | None = None,
        count: Count | None = None,
        window: int | None = None,
    ) -> list[Any]:
        ask = msgspec.structs.replace(self._default, messages=arguments.messages(messages))
        indices = await self.engines.afit(ask, reserve=self._reserved(reserve), count=count, window=window)
        return [messages[index] for index in indices]

    def _reserved(self, reserve: int | None) -> int:
        return reserve if reserve is not None else max(self._default.options.max_tokens or DEFAULT_TOKENS, 1)

    def close(self) -> None:
        """Close the connections that threads use; those of an event loop close with it."""
        self.engines.close()

    async def aclose(self) -> None:
        await self.engines.aclose()

    def __repr__(self) -> str:
        return f"{type(self).__name__}(model={self.model!r}, base_url={self.base_url!r})"

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - it only ever raises
        if name in LANGCHAIN:
            raise AttributeError(
                f"{type(self).__name__}.{name} comes with LangChain: install it with pip install 'penstock[langchain]'"
            )
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")


class _TextClient(_Client):
    """Text in, text out, as `OllamaLLM`."""

    def invoke(self, input: str, config: Config = None, *, stop: Sequence[str] | None = None, **options: object) -> str:
        """The answer to a prompt. The model's chat template is applied unless `raw=True` (X6)."""
        del config
        return self.engines.ask(self._ask(input, stop, options)).text

    async def ainvoke(
        self, input: str, config: Config = None, *, stop: Sequence[str] | None = None, **options: object
    ) -> str:
        del config
        return (await self.engines.aask(self._ask(input, stop, options))).text

    def stream(
        self, input: str, config: Config = None, *, stop: Sequence[str] | None = None, **options: object
    ) -> Iterator[str]:
        del config
        return (piece.text for piece in self.engines.stream(self._ask(input, stop, options)) if piece.text)

    async def astream(
        self,
        input: str,
        config: Config = None,
        *,
        stop: Sequence[str] | None = None,
        **options: object,
    ) -> AsyncIterator[str]:
        del config
        async with contextlib.aclosing(self.engines.astream(self._ask(input, stop, options))) as pieces:
            async for piece in pieces:
                if piece.text:
                    yield piece.text

    def batch(
        self, inputs: Sequence[str], config: Config = None, *, return_exceptions: bool = False, **options: object
    ) -> list[Any]:
        """The answers in the order of the prompts, several at a time."""
        asks = [self._ask(one, None, options) for one in inputs]
        return _batch(lambda ask: self.engines.ask(ask).text, asks, config, keep=return_exceptions)

    async def abatch(
        self, inputs: Sequence[str], config: Config = None, *, return_exceptions: bool = False, **options: object
    ) -> list[Any]:
        answers = await _abatch(
            self.engines.aask, [self._ask(one, None, options) for one in inputs], config, keep=return_exceptions
        )
        return [one.text if isinstance(one, Answer) else one for one in answers]

    def _ask(self, given: object, stop: Sequence[str] | None, options: Mapping[str, Any]) -> Ask:
        if not isinstance(given, str):
            raise TypeError(f"a prompt is text, not {type(given).__name__}; ChatVLLM takes messages")
        ask = arguments.asked(self._default, options if stop is None else {**options, "stop": stop})
        return msgspec.structs.replace(ask, prompt=given)


class _ChatClient(_Client):
    """Messages in, an answer out, as `ChatOllama`; what comes back has `content`, `tool_calls` and `usage`."""

    def invoke(
        self, input: object, config: Config = None, *, stop: Sequence[str] | None = None, **options: object
    ) -> Answer:
        """The answer to text or a list of messages."""
        del config
        return self.engines.ask(self._ask(input, stop, options))

    async def ainvoke(
        self,
        input: object,
        config: Config = None,
        *,
        stop: Sequence[str] | None = None,
        **options: object,
    ) -> Answer:
        del config
        return await self.engines.aask(self._ask(input, stop, options))

    def stream(
        self, input: object, config: Config = None, *, stop: Sequence[str] | None = None, **options: object
    ) -> Iterator[Piece]:
        del config
        return self.engines.stream(self._ask(input, stop, options))

    def astream(
        self,
        input: object,
        config: Config = None,
        *,
        stop: Sequence[str] | None = None,
        **options: object,
    ) -> AsyncIterator[Piece]:
        del config
        return self.engines.astream(self._ask(input, stop, options))

    def batch(
        self, inputs: Sequence[object], config: Config = None, *, return_exceptions: bool = False, **options: object
    ) -> list[Any]:
        """The answers in the order of the conversations, several at a time."""
        asks = [self._ask(one, None, options) for one in inputs]
        return _batch(self.engines.ask, asks, config, keep=return_exceptions)

    async def abatch(
        self, inputs: Sequence[object], config: Config = None, *, return_exceptions: bool = False, **options: object
    ) -> list[Any]:
        asks = [self._ask(one, None, options) for one in inputs]
        return await _abatch(self.engines.aask, asks, config, keep=return_exceptions)

    def _ask(self, given: object, stop: Sequence[str] | None, options: Mapping[str, Any]) -> Ask:
        ask = arguments.asked(self._default, options if stop is None else {**options, "stop": stop})
        return msgspec.structs.replace(ask, messages=arguments.messages(given))


class VLLMClient(_TextClient):
    """vLLM, or a gateway in front of it, where code expects `OllamaLLM`."""


class ChatVLLM(_ChatClient):
    """The same where code expects `ChatOllama`."""


class _Ollama(_Client):
    kind = Kind.OLLAMA

    @classmethod
    def _usual_options(cls) -> Mapping[str, Any]:
        return {}


class OllamaClient(_Ollama, _TextClient):
    """Ollama in its own protocol, with the same retries and limits."""


class ChatOllamaClient(_Ollama, _ChatClient):
    """The same for messages."""


def _batch(call: Callable[[Ask], Any], inputs: Sequence[Ask], config: Config, *, keep: bool) -> list[Any]:
    if not inputs:
        return []
    with ThreadPoolExecutor(min(_concurrency(config), len(inputs))) as pool:
        futures = [pool.submit(call, one) for one in inputs]
        try:
            return [_kept(future, keep=keep) for future in futures]
        finally:
            for future in futures:
                future.cancel()


def _kept(future: Future[Any], *, keep: bool) -> Any:  # noqa: ANN401 - an answer, a text or an error
    error = future.exception()
    return error if keep and isinstance(error, Exception) else future.result()


async def _abatch(
    call: Callable[[Ask], Awaitable[Answer]], inputs: Sequence[Ask], config: Config, *, keep: bool
) -> list[Any]:
    room = asyncio.Semaphore(_concurrency(config))

    async def one(ask: Ask) -> Answer:
        async with room:
            return await call(ask)

    if keep:
        return await asyncio.gather(*(one(ask) for ask in inputs), return_exceptions=True)
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(ask)) for ask in inputs]
    except BaseExceptionGroup as several:
        raise several.exceptions[0] from None  # as from one call; the others were given up with it
    return [task.result() for task in tasks]


def _concurrency(config: Config) -> int:
    single = config[0] if isinstance(config, Sequence) and config else config
    wanted = single.get("max_concurrency") if isinstance(single, Mapping) else None
    return max(1, int(wanted)) if wanted else CONCURRENCY
