"""What one engine answered, and what it had been asked, reduced to what a comparison needs. Frozen, without I/O.

An answer is kept with its words or without: `answer_without_text` leaves figures and digests. Equal texts are still known to
be equal, and who guesses a text whole can tell that it was this one; nothing else can be read from them.
"""

from __future__ import annotations

import hashlib
from typing import Literal

import msgspec


class ToolCall(msgspec.Struct, frozen=True):
    """One call that an engine wants made. Nothing here ever makes it."""

    name: str
    arguments: str = ""
    """JSON text as the engine wrote it."""


class Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One answer, whole or failed."""

    text: str = ""
    digest: str = ""
    """`sha256:…` of the text with its white space made even, where the text itself is not kept."""
    refusal: str = ""
    """What the engine put into its protocol's own field for a refusal."""
    tools: tuple[ToolCall, ...] = ()
    vectors: tuple[tuple[float, ...], ...] = ()
    finish: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    """From the request sent to the last byte."""
    first_token: float = 0.0
    """From the request sent to the first content of a stream; 0 where it was none."""
    status: int = 200
    """Of HTTP; 0 where not even a head came."""
    error: str = ""
    """Why there is no answer, or no whole one; empty where there is."""
    backend: str = ""
    model: str = ""


class Asked(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What both engines were asked."""

    path: str = ""
    stream: bool = False
    structured: Literal["", "json", "tools"] = ""
    """Whether JSON, or the choice of a tool, was asked for."""
    greedy: bool = False
    """Whether sampling was off, so that the same model must say the same."""
    prompt: str = ""
    """The last thing the user said."""
    digest: str = ""
    """`sha256:…` of the prompt with its white space made even."""


def even(text: str) -> str:
    """The text with every run of white space as one space: the differences that nobody reads."""
    return " ".join(text.split())


def digest(text: str) -> str:
    """Names a text by what it says, white space aside."""
    return "sha256:" + hashlib.sha256(even(text).encode(errors="surrogatepass")).hexdigest()


def answer_without_text(answer: Answer) -> Answer:
    """Figures, names of tools and a digest."""
    return msgspec.structs.replace(
        answer,
        text="",
        refusal="",
        vectors=(),
        tools=tuple(ToolCall(one.name) for one in answer.tools),
        digest=digest(answer.text) if answer.text else answer.digest,
    )


def asked_without_text(asked: Asked) -> Asked:
    """The same for the question."""
    return msgspec.structs.replace(asked, prompt="", digest=asked.digest or digest(asked.prompt))
