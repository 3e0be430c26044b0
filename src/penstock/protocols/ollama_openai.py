"""The parts of OpenAI's wire that the Ollama translations read and write, as types.

Requests are written with what an engine of that kind understands and nothing else: absent is `UNSET`, never a default.
Answers are read far enough to be told again. Engines' own additions stand beside OpenAI's: `reasoning`
(vLLM) and `reasoning_content` (llama.cpp), `metrics` (vLLM), `timings` (llama.cpp). No translation here.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec
from msgspec import UNSET, UnsetType

from penstock.protocols.ollama_types import NOTHING, Number

MaybeNumber: TypeAlias = Number | UnsetType
MaybeInt: TypeAlias = int | UnsetType
MaybeText: TypeAlias = str | UnsetType
MaybeFlag: TypeAlias = bool | UnsetType
MaybeRaw: TypeAlias = msgspec.Raw | UnsetType


# ---- requests


class Sampling(msgspec.Struct):
    """How to generate, in the words of OpenAI, vLLM and llama.cpp together."""

    max_tokens: MaybeInt = UNSET
    temperature: MaybeNumber = UNSET
    top_p: MaybeNumber = UNSET
    top_k: MaybeInt = UNSET
    min_p: MaybeNumber = UNSET
    typical_p: MaybeNumber = UNSET
    repetition_penalty: MaybeNumber = UNSET
    repeat_penalty: MaybeNumber = UNSET
    repeat_last_n: MaybeInt = UNSET
    presence_penalty: MaybeNumber = UNSET
    frequency_penalty: MaybeNumber = UNSET
    mirostat: MaybeInt = UNSET
    mirostat_tau: MaybeNumber = UNSET
    mirostat_eta: MaybeNumber = UNSET
    n_keep: MaybeInt = UNSET
    seed: MaybeInt = UNSET
    stop: list[str] | UnsetType = UNSET


class ImageUrl(msgspec.Struct):
    url: str


class Part(msgspec.Struct):
    """One part of a message's content."""

    type: str
    text: MaybeText = UNSET
    image_url: ImageUrl | UnsetType = UNSET


class CalledFunction(msgspec.Struct):
    """The arguments are JSON inside a string."""

    name: str
    arguments: str


class Called(msgspec.Struct):
    """A tool call of an earlier turn."""

    id: str
    function: CalledFunction
    type: str = "function"


class Turn(msgspec.Struct):
    """One message of the history."""

    role: str
    content: str | list[Part] | UnsetType | None = UNSET
    reasoning: MaybeText = UNSET
    reasoning_content: MaybeText = UNSET
    tool_calls: list[Called] | UnsetType = UNSET
    tool_call_id: MaybeText = UNSET
    name: MaybeText = UNSET


class Schema(msgspec.Struct):
    name: str
    schema: msgspec.Raw


class ResponseFormat(msgspec.Struct):
    """`json_object`, or `json_schema` with the schema."""

    type: str
    json_schema: Schema | UnsetType = UNSET


class TemplateWords(msgspec.Struct):
    """What the chat template is told; templates that know neither word ignore it."""

    enable_thinking: MaybeFlag = UNSET
    reasoning_effort: MaybeText = UNSET


class StreamOptions(msgspec.Struct):
    include_usage: bool = True


class ChatBody(Sampling, kw_only=True):
    """`POST /v1/chat/completions`."""

    model: str
    messages: list[Turn]
    stream: bool
    stream_options: StreamOptions | UnsetType = UNSET
    tools: list[msgspec.Raw] | UnsetType = UNSET
    response_format: ResponseFormat | UnsetType = UNSET
    chat_template_kwargs: TemplateWords | UnsetType = UNSET
    reasoning_effort: MaybeText = UNSET
    logprobs: MaybeFlag = UNSET
    top_logprobs: MaybeInt = UNSET


class CompletionBody(Sampling, kw_only=True):
    """`POST /v1/completions`."""

    model: str
    prompt: str
    stream: bool
    stream_options: StreamOptions | UnsetType = UNSET
    suffix: MaybeText = UNSET
    response_format: ResponseFormat | UnsetType = UNSET
    json_schema: MaybeRaw = UNSET
    logprobs: MaybeInt = UNSET


class EmbeddingBody(msgspec.Struct):
    """`POST /v1/embeddings`."""

    model: str
    input: list[str]
    encoding_format: str = "float"
    truncate_prompt_tokens: MaybeInt = UNSET


# ---- answers


class Counts(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class Timings(msgspec.Struct):
    """llama.cpp's own measurement, in milliseconds."""

    prompt_ms: Number | None = None
    predicted_ms: Number | None = None


class Measured(msgspec.Struct):
    """vLLM's own measurement (`--enable-per-request-metrics`), in milliseconds."""

    time_to_first_token_ms: Number | None = None
    generation_time_ms: Number | None = None


class TokenLogprob(msgspec.Struct):
    token: str
    logprob: float
    bytes: list[int] | None = None
    top_logprobs: list[TokenLogprob] | None = None


class Logprobs(msgspec.Struct):
    """Chat's form has `content`; the older one of completions has parallel lists."""

    content: list[TokenLogprob] | None = None
    tokens: list[str] | None = None
    token_logprobs: list[float | None] | None = None
    top_logprobs: list[dict[str, float] | None] | None = None


class FunctionPiece(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class CallPiece(msgspec.Struct):
    """A tool call, or the next piece of one."""

    index: int | None = None
    id: str | None = None
    function: FunctionPiece | None = None


class Delta(msgspec.Struct):
    """What is new in a chunk, or a whole message."""

    content: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    refusal: str | None = None
    tool_calls: list[CallPiece] | None = None


class Choice(msgspec.Struct):
    index: int = 0
    delta: Delta | None = None
    message: Delta | None = None
    text: str | None = None
    finish_reason: str | None = None
    logprobs: Logprobs | None = None


class Answer(msgspec.Struct):
    """A chunk of a stream or a whole answer, of chat or of completions."""

    id: str | None = None
    model: str | None = None
    choices: list[Choice] | None = None
    usage: Counts | None = None
    timings: Timings | None = None
    metrics: Measured | None = None
    error: msgspec.Raw = NOTHING


class Vector(msgspec.Struct):
    embedding: msgspec.Raw
    index: int = 0


class Vectors(msgspec.Struct):
    """An answer of `/v1/embeddings`."""

    data: list[Vector] = []
    model: str | None = None
    usage: Counts | None = None
    error: msgspec.Raw = NOTHING
