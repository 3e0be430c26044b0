"""OpenAI requests as types, as far as an Ollama can be told them; and what OpenAI clients read back.

`KNOWN` names the members each route understands; whatever else a client sends is named to it as dropped. Members that
change nothing in the answer (`user`, `metadata`) are neither sent nor named.
"""

from __future__ import annotations

import msgspec
from msgspec import UNSET, UnsetType

from penstock.protocols.ollama_types import NOTHING, Number, Options, Think

HARMLESS = frozenset(
    {"metadata", "prompt_cache_key", "request_id", "safety_identifier", "service_tier", "session_id", "store", "user"}
)


# ---- requests


class Url(msgspec.Struct):
    url: str


class Part(msgspec.Struct):
    """One part of a message's content."""

    type: str
    text: str | None = None
    refusal: str | None = None
    image_url: Url | str | None = None


class CalledFunction(msgspec.Struct):
    name: str = ""
    arguments: str | None = None


class Called(msgspec.Struct):
    function: CalledFunction
    id: str | None = None


class Turn(msgspec.Struct):
    """One message of the history."""

    role: str
    content: str | list[Part] | None = None
    name: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[Called] | None = None
    tool_call_id: str | None = None


class JsonSchema(msgspec.Struct):
    schema: msgspec.Raw = NOTHING


class ResponseFormat(msgspec.Struct):
    type: str
    json_schema: JsonSchema | None = None


class Asked(msgspec.Struct):
    """What chat and completions share."""

    model: str | None = None
    stream: bool | None = None
    stream_options: msgspec.Raw = NOTHING
    n: int | None = None
    stop: str | list[str] | None = None
    seed: int | None = None
    temperature: Number | None = None
    top_p: Number | None = None
    top_k: int | None = None
    min_p: Number | None = None
    typical_p: Number | None = None
    presence_penalty: Number | None = None
    frequency_penalty: Number | None = None
    repetition_penalty: Number | None = None
    repeat_penalty: Number | None = None
    repeat_last_n: int | None = None
    response_format: ResponseFormat | None = None


class ChatAsked(Asked, kw_only=True):
    """`POST /v1/chat/completions`."""

    messages: list[Turn]
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    tools: list[msgspec.Raw] | None = None
    tool_choice: msgspec.Raw = NOTHING
    parallel_tool_calls: bool | None = None
    reasoning_effort: str | None = None
    chat_template_kwargs: dict[str, msgspec.Raw] | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None


class CompletionAsked(Asked, kw_only=True):
    """`POST /v1/completions`."""

    prompt: msgspec.Raw
    max_tokens: int | None = None
    suffix: str | None = None
    logprobs: int | None = None
    echo: bool | None = None
    best_of: int | None = None


class EmbeddingAsked(msgspec.Struct):
    """`POST /v1/embeddings`."""

    input: msgspec.Raw
    model: str | None = None
    encoding_format: str | None = None
    dimensions: int | None = None


KNOWN = {kind: frozenset(kind.__struct_fields__) | HARMLESS for kind in (ChatAsked, CompletionAsked, EmbeddingAsked)}


class ChatBody(msgspec.Struct, omit_defaults=True):
    """`POST /api/chat` as we write it; a prompt that does not fit is an error, not silently cut."""

    model: str
    messages: list[msgspec.Raw]
    stream: bool | UnsetType = UNSET
    tools: list[msgspec.Raw] | None = None
    format: msgspec.Raw | UnsetType = UNSET
    options: Options | UnsetType = UNSET
    think: Think = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    truncate: bool | UnsetType = UNSET
    shift: bool | UnsetType = UNSET


# ---- answers


class Counts(msgspec.Struct):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class SaidFunction(msgspec.Struct):
    name: str
    arguments: str


class SaidCall(msgspec.Struct, omit_defaults=True):
    """A tool call; `index` stands only in streams."""

    id: str
    function: SaidFunction
    index: int | None = None
    type: str | UnsetType = UNSET


class Message(msgspec.Struct, omit_defaults=True):
    """A whole message, or what is new in a chunk."""

    role: str | UnsetType = UNSET
    content: str | UnsetType | None = UNSET
    reasoning: str | None = None
    tool_calls: list[SaidCall] | None = None


class TokenLogprob(msgspec.Struct):
    token: str
    logprob: float
    bytes: list[int] | None
    top_logprobs: list[TokenLogprob] | UnsetType = UNSET


class ChatLogprobs(msgspec.Struct):
    content: list[TokenLogprob]


class TextLogprobs(msgspec.Struct):
    """The older form of `/v1/completions`."""

    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]]
    text_offset: list[int]


class Choice(msgspec.Struct):
    index: int = 0
    delta: Message | UnsetType = UNSET
    message: Message | UnsetType = UNSET
    text: str | UnsetType = UNSET
    logprobs: ChatLogprobs | TextLogprobs | None = None
    finish_reason: str | None = None


class Answer(msgspec.Struct):
    """A chunk or a whole answer."""

    id: str
    object: str
    created: int
    model: str
    choices: list[Choice]
    usage: Counts | UnsetType = UNSET


class PromptCounts(msgspec.Struct):
    prompt_tokens: int
    total_tokens: int


class Vector(msgspec.Struct):
    index: int
    embedding: msgspec.Raw
    object: str = "embedding"


class Vectors(msgspec.Struct):
    """An answer of `/v1/embeddings`."""

    data: list[Vector]
    model: str
    usage: PromptCounts
    object: str = "list"
