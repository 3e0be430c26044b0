"""How many tokens something takes, as the engine's own tokenizer counts; and what of a conversation fits.

LangChain's own default is another model's tokenizer, which miscounts. Where an engine cannot count, that is an error.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from langchain_core.messages import BaseMessage, convert_to_messages
from langchain_core.utils.function_calling import convert_to_openai_tool

from penstock.client.ask import Ask, Message
from penstock.client.codec import Outgoing
from penstock.client.io import Limits, finished
from penstock.client.langchain.fields import EngineFields
from penstock.client.langchain.turns import turns
from penstock.client.openai_codec import DEFAULT_TOKENS
from penstock.client.window import measured
from penstock.errors import BrokenAnswer, Unsupported
from penstock.types import Kind


class _Tokens(msgspec.Struct):
    tokens: list[int]


_TOKENS = msgspec.json.Decoder(_Tokens)


class EngineTokens(EngineFields):
    """The fields, and the counting over them."""

    def get_token_ids(self, text: str) -> list[int]:
        """The ids of a text's tokens, without a chat template."""
        own: Callable[[str], list[int]] | None = getattr(self, "custom_get_token_ids", None)
        if own is not None:
            return own(text)
        place = self._engines.first
        if place.kind is not Kind.VLLM:
            raise Unsupported(
                f"{place.label} at {place.url} cannot count tokens: it has no route for that.",
                hint="Give custom_get_token_ids, a function of your own.",
            )
        body = msgspec.json.encode({"model": self.model, "prompt": text, "add_special_tokens": False})
        reply = finished(self._io().send(place.post(Outgoing("/tokenize", body)), self._limits()))
        if reply.status != 200:
            raise place.judge(reply, self.model)
        try:
            return _TOKENS.decode(reply.body).tokens
        except msgspec.DecodeError as wrong:
            raise BrokenAnswer(f"The engine's tokens cannot be read: {wrong}") from None

    def get_num_tokens_from_messages(self, messages: list[BaseMessage], tools: Sequence[Any] | None = None) -> int:
        """The tokens of a conversation with the model's chat template around it, tools included."""
        offered = tuple(convert_to_openai_tool(tool) for tool in tools or ())
        ask = Ask(messages=turns(messages), tools=offered)
        return finished(measured(self._io(), self._engines.first, ask, self._limits())).tokens

    def fit(
        self,
        messages: Sequence[Any],
        *,
        reserve: int | None = None,
        count: Callable[[Sequence[Message]], int] | None = None,
        window: int | None = None,
    ) -> list[Any]:
        """The messages without the oldest exchanges that leave no room for the answer (S0.11, H4).

        `reserve` is the answer's tokens; without it, what `max_tokens` says, else 512.
        """
        ask = msgspec.structs.replace(self._default, messages=turns(convert_to_messages(messages)))
        indices = self._engines.fit(ask, reserve=self._reserved(reserve), count=count, window=window)
        return [messages[index] for index in indices]

    async def afit(
        self,
        messages: Sequence[Any],
        *,
        reserve: int | None = None,
        count: Callable[[Sequence[Message]], int] | None = None,
        window: int | None = None,
    ) -> list[Any]:
        ask = msgspec.structs.replace(self._default, messages=turns(convert_to_messages(messages)))
        indices = await self._engines.afit(ask, reserve=self._reserved(reserve), count=count, window=window)
        return [messages[index] for index in indices]

    def _reserved(self, reserve: int | None) -> int:
        return reserve if reserve is not None else max(self._default.options.max_tokens or DEFAULT_TOKENS, 1)

    def _io(self) -> Any:  # noqa: ANN401
        return self._engines._blocking  # noqa: SLF001 - counting is no call: it has neither retries nor a fallback

    def _limits(self) -> Limits:
        policy = self._engines.policy
        return Limits(policy.connect, policy.silence, time.monotonic() + policy.timeout)
