"""What `guardrails` of an alias may hold: nouns of the configuration, in a file of their own. Nothing here does anything."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from penstock.config_noun import AtLeastOne, Noun

Detector = Literal["private_key", "api_key", "email", "phone", "iban", "card", "us_ssn"]
Side = Literal["input", "output"]
BOTH: tuple[Side, ...] = ("input", "output")


class Bound(Noun, frozen=True, kw_only=True):
    """A text in a file, and the version of it that the alias is bound to."""

    file: Annotated[str, Meta(min_length=1, description="Path of the text, UTF-8.")]
    version: Annotated[
        str,
        Meta(
            pattern="^[A-Za-z0-9._-]{1,64}$",
            description="Its version, told in a header of every answer and in the verdicts.",
            extra={"expected": "letters, digits, dots and dashes, at most 64"},
        ),
    ]
    sha256: Annotated[
        str,
        Meta(
            pattern="^([0-9a-f]{64})?$",
            description="Digest of the file that this version is bound to; another file does not start.",
            extra={"expected": "64 hexadecimal digits"},
        ),
    ] = ""


class Redact(Noun, frozen=True, kw_only=True):
    """Secrets and what tells who somebody is, found by patterns."""

    find: Annotated[
        tuple[Detector, ...],
        Meta(description="What is looked for: private_key, api_key, email, phone, iban, card, us_ssn."),
    ] = ()
    patterns: Annotated[dict[str, str], Meta(description="Patterns of your own, by name.")] = {}  # noqa: RUF012 - a struct gives every tree its own
    action: Annotated[
        Literal["redact", "refuse"], Meta(description="Whether a find is replaced by its name or ends the request.")
    ] = "redact"
    on: Annotated[tuple[Side, ...], Meta(min_length=1, description="input, output or both.")] = BOTH


class Topics(Noun, frozen=True, kw_only=True):
    """What is not spoken of."""

    patterns: Annotated[dict[str, str], Meta(description="Patterns that end a request, by name.")]
    on: Annotated[tuple[Side, ...], Meta(min_length=1, description="input, output or both.")] = BOTH


class Links(Noun, frozen=True, kw_only=True):
    """Where links and images of an answer may lead."""

    hosts: Annotated[
        tuple[str, ...],
        Meta(description="Hosts that may be linked to; `*.example.com` for all below one. None where empty."),
    ] = ()


class AnswerSchema(Noun, frozen=True, kw_only=True):
    """The JSON Schema that every answer must fit."""

    file: Annotated[str, Meta(min_length=1, description="Path of the JSON Schema.")]
    streamed: Annotated[
        Literal["hold", "refuse"],
        Meta(description="A streamed answer is held until it is whole and checked, or a stream is refused."),
    ] = "hold"


class Guardrails(Noun, frozen=True, kw_only=True):
    """Rules for what goes into a model and what comes out of it."""

    system: Bound | None = None
    """Put first in every chat, before what the client sends."""
    template: Bound | None = None
    """Text around what the user said last, which stands where `{{prompt}}` does."""
    redact: Redact | None = None
    topics: Topics | None = None
    links: Links | None = None
    answer_schema: AnswerSchema | None = None
    max_context: Annotated[
        AtLeastOne | None,
        Meta(description="Tokens that prompt and answer may have together, the prompt's estimated."),
    ] = None
    tools: Annotated[
        tuple[str, ...] | None,
        Meta(description="Tools that may be offered and called; an empty list forbids all. No rule where not given."),
    ] = None
    media: Annotated[
        Literal["refuse", "pass"],
        Meta(
            description="Pictures, sounds and files cannot be looked into: refuse requests with them, or let them pass."
        ),
    ] = "refuse"
