"""What an engine answered, as LangChain shows it: generation info under Ollama's names and OpenAI's, usage metadata, calls.

Figures that the engine did not give and nobody measured are left out rather than made up.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import msgspec
from langchain_core.messages import InvalidToolCall, ToolCall, ToolCallChunk
from langchain_core.messages.ai import InputTokenDetails, OutputTokenDetails, UsageMetadata
from langchain_core.messages.tool import invalid_tool_call, tool_call, tool_call_chunk

from penstock.client.answer import Answer, Piece, Source
from penstock.client.ask import ToolCall as Called
from penstock.types import Kind, Usage


class _Cached(msgspec.Struct):
    cached_tokens: int | None = None


class _Spent(msgspec.Struct):
    reasoning_tokens: int | None = None


class _Detailed(msgspec.Struct):
    prompt_tokens_details: _Cached | None = None
    completion_tokens_details: _Spent | None = None


class _Choice(msgspec.Struct):
    logprobs: Any = None


class _Head(msgspec.Struct):
    """The members of an OpenAI answer, or of a part of one, that LangChain's users look for."""

    id: str | None = None
    model: str | None = None
    created: float | None = None
    system_fingerprint: str | None = None
    usage: _Detailed | None = None
    choices: list[_Choice] = []


_HEAD = msgspec.json.Decoder(_Head)
_OLLAMAS = ("message", "response", "context", "thinking", "logprobs")
"""Members of Ollama's last line that stand elsewhere, or are no information about the answer."""


class Clock:
    """When one answer began, and when its first token came; nanoseconds, as Ollama counts them."""

    __slots__ = ("begin", "first")

    def __init__(self) -> None:
        self.begin = time.monotonic_ns()
        self.first = 0

    def heard(self) -> None:
        """Content has arrived."""
        if not self.first:
            self.first = time.monotonic_ns()

    def durations(self) -> dict[str, int]:
        """The whole; and of a stream, what came before its first token and after it."""
        now = time.monotonic_ns()
        if not self.first:
            return {"total_duration": now - self.begin}
        return {
            "total_duration": now - self.begin,
            "prompt_eval_duration": self.first - self.begin,
            "eval_duration": now - self.first,
        }


class Ending:
    """What is known at the end of an answer, gathered from its pieces or taken from the whole."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.finish = ""
        self.usage: Usage | None = None
        self._body = b""
        self._details: _Detailed | None = None

    @classmethod
    def of(cls, answer: Answer) -> Ending:
        ending = cls(answer.source)
        ending.finish, ending.usage, ending._body = answer.finish, answer.usage, answer.body
        ending._details = _detailed(answer.body)
        return ending

    def add(self, piece: Piece) -> None:
        if piece.finish:
            self.finish, self._body = piece.finish, piece.body
        if piece.usage is not None:
            self.usage = piece.usage
            self._details = _detailed(piece.body)

    def info(self, clock: Clock) -> dict[str, Any]:
        """The generation's info: Ollama's names, `finish_reason`, and who answered and why."""
        source = self.source
        told = _ollamas(self._body) if source.kind is Kind.OLLAMA else _openais(self._body)
        model = told.get("model") or source.model
        told |= {"model": model, "model_name": model, "model_provider": source.kind.value}
        told |= {"done": True, "finish_reason": self.finish}
        told.setdefault("done_reason", "length" if self.finish == "length" else "stop")
        for name, value in clock.durations().items():
            told.setdefault(name, value)
        if self.usage is not None:
            told["prompt_eval_count"] = self.usage.prompt_tokens
            told["eval_count"] = self.usage.completion_tokens
        for name in ("backend", "fallback"):
            if value := getattr(source, name):
                told[name] = value
        if source.dropped:
            told["dropped"] = list(source.dropped)
        return told

    def usage_metadata(self) -> UsageMetadata | None:
        usage = self.usage
        if usage is None:
            return None
        metadata = UsageMetadata(
            input_tokens=usage.prompt_tokens,
            output_tokens=usage.completion_tokens,
            total_tokens=usage.prompt_tokens + usage.completion_tokens,
        )
        details = self._details
        if details is not None:
            cached, spent = details.prompt_tokens_details, details.completion_tokens_details
            if cached is not None and cached.cached_tokens is not None:
                metadata["input_token_details"] = InputTokenDetails(cache_read=cached.cached_tokens)
            if spent is not None and spent.reasoning_tokens is not None:
                metadata["output_token_details"] = OutputTokenDetails(reasoning=spent.reasoning_tokens)
        return metadata


def logprobs(source: Source, body: bytes) -> Any:  # noqa: ANN401 - of two protocols
    """The log probabilities of an answer or a piece, in the list that both protocols have; None where there are none."""
    if b'"logprobs"' not in body:
        return None
    if source.kind is Kind.OLLAMA:
        return msgspec.json.decode(body).get("logprobs")
    choices = _HEAD.decode(body).choices
    found = choices[0].logprobs if choices else None
    return found.get("content", found) if isinstance(found, dict) else found


def tool_calls(called: tuple[Called, ...]) -> tuple[list[ToolCall], list[InvalidToolCall]]:
    """The calls whose arguments can be read, and those whose can not."""
    good: list[ToolCall] = []
    bad: list[InvalidToolCall] = []
    for one in called:
        name = one.id or str(uuid4())
        try:
            arguments = msgspec.json.decode(one.arguments or "{}", type=dict[str, Any])
        except msgspec.DecodeError as wrong:
            bad.append(invalid_tool_call(name=one.name, args=one.arguments, id=name, error=str(wrong)))
        else:
            good.append(tool_call(name=one.name, args=arguments, id=name))
    return good, bad


def tool_call_chunks(called: tuple[Called, ...], begin: int) -> list[ToolCallChunk]:
    """The same for a part of a stream; `begin` is how many came before it."""
    return [
        tool_call_chunk(name=one.name, args=one.arguments or "{}", id=one.id or str(uuid4()), index=begin + number)
        for number, one in enumerate(called)
    ]


def _detailed(body: bytes) -> _Detailed | None:
    return _HEAD.decode(body).usage if b"_tokens_details" in body else None


def _openais(body: bytes) -> dict[str, Any]:
    head = _HEAD.decode(body) if body else _Head()
    told: dict[str, Any] = {}
    if head.model:
        told["model"] = head.model
    if head.created is not None:
        told["created_at"] = datetime.fromtimestamp(head.created, UTC).isoformat().replace("+00:00", "Z")
    if head.id:
        told["id"] = head.id
    if head.system_fingerprint:
        told["system_fingerprint"] = head.system_fingerprint
    return told


def _ollamas(body: bytes) -> dict[str, Any]:
    told = msgspec.json.decode(body) if body else {}
    return {name: value for name, value in told.items() if name not in _OLLAMAS} if isinstance(told, dict) else {}
