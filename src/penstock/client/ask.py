"""What is asked of a model, whichever protocol will carry it: frozen values without I/O.

Sampling options bear one name each here; `options.py` knows the other spellings and the words of each engine.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

Role = Literal["system", "user", "assistant", "tool"]


class ToolCall(msgspec.Struct, frozen=True):
    """A function that the model wants called."""

    name: str
    arguments: str = "{}"
    """JSON text, as the model wrote it."""
    id: str = ""


class Message(msgspec.Struct, frozen=True):
    """One turn of a conversation."""

    role: str
    content: str = ""
    images: tuple[str, ...] = ()
    """Base64 without a prefix, or `data:` and http URLs (the latter only where the engine fetches them itself)."""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""
    name: str = ""
    """Of the tool whose result this is."""
    thinking: str = ""


class Options(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Sampling, in one spelling; None: the engine's own choice."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    max_tokens: int | None = None
    """None, or anything below 1: as many as fit."""
    seed: int | None = None
    stop: tuple[str, ...] = ()
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    repeat_penalty: float | None = None
    typical_p: float | None = None
    repeat_last_n: int | None = None
    mirostat: int | None = None
    mirostat_eta: float | None = None
    mirostat_tau: float | None = None
    tfs_z: float | None = None
    num_ctx: int | None = None
    num_gpu: int | None = None
    num_thread: int | None = None
    num_keep: int | None = None
    num_batch: int | None = None


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """One call."""

    messages: tuple[Message, ...] = ()
    prompt: str | None = None
    """Instead of messages: with `raw` it goes to the model as it is, else as one user message (X6)."""
    raw: bool = False
    options: Options = Options()
    model: str = ""
    """Another model than the one the client was made for; asked of the first engine only."""
    tools: tuple[Mapping[str, object], ...] = ()
    """OpenAI's form: `{"type": "function", "function": {…}}`."""
    tool_choice: object = None
    format: object = None
    """`"json"`, or a JSON schema as a mapping that the answer must satisfy."""
    thinking: bool | str | None = None
    """Whether a model that can think shall; a string is a degree."""
    keep_alive: float | str | None = None
    """Ollama: how long the model stays loaded."""
    system: str = ""
    suffix: str = ""
    logprobs: int | None = None
    """How many alternatives to tell beside each token; 0: only the token's own."""
    extra: Mapping[str, object] = {}
    """Members added to the request's body as they are."""
    timeout: float | None = None
    """Seconds for this call; None: the client's."""
