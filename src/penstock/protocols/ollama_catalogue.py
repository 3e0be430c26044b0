"""What Ollama's clients ask about models: `/api/tags`, `/api/show`, `/api/ps`, `/api/version`. Pure: facts in, bytes out.

Every member that the official client, langchain_ollama, Open WebUI or the `ollama` command reads is always there;
`model_info` is never absent, because the official client fails without it. What nobody knows is 0 or empty.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import msgspec

from penstock.protocols.names import tagged
from penstock.protocols.ollama_types import moment
from penstock.types import Kind

FOREVER = "2318-01-01T00:00:00Z"
"""When a model is unloaded that never is; Ollama's own clients print "Forever" for it."""

_encode = msgspec.json.Encoder().encode
_FORMATS = {Kind.VLLM: "safetensors", Kind.OLLAMA: "gguf", Kind.EMBEDDED: "gguf", Kind.OPENAI: ""}


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one alias."""

    name: str
    """The alias, as a client asks for it."""
    model: str
    """The name its backend knows it by."""
    kind: Kind
    context_length: int | None = None
    embedding_length: int | None = None
    parameter_count: int | None = None
    capabilities: tuple[str, ...] = ("completion",)
    """Of `completion`, `tools`, `vision`, `thinking`, `embedding`, `insert`."""
    family: str = ""
    quantization: str = ""
    size: int = 0
    """Bytes."""
    digest: str = ""
    """SHA-256 of the weights in hexadecimal, where known."""
    modified: int = 0
    """Wall-clock nanoseconds."""


class _Details(msgspec.Struct):
    parent_model: str
    format: str
    family: str
    families: list[str]
    parameter_size: str
    quantization_level: str
    context_length: int
    embedding_length: int


class _Tag(msgspec.Struct):
    name: str
    model: str
    modified_at: str
    size: int
    digest: str
    details: _Details
    capabilities: tuple[str, ...]


class _Loaded(msgspec.Struct):
    name: str
    model: str
    size: int
    digest: str
    details: _Details
    expires_at: str
    size_vram: int
    context_length: int


class _Shown(msgspec.Struct):
    license: str
    modelfile: str
    parameters: str
    template: str
    details: _Details
    model_info: dict[str, str | int]
    capabilities: tuple[str, ...]
    modified_at: str


class _Models(msgspec.Struct):
    models: list[_Tag] | list[_Loaded]


class _Version(msgspec.Struct):
    version: str


def tags(models: Iterable[Listed]) -> bytes:
    """The body of `/api/tags`."""
    return _encode(_Models([_tag(model) for model in models]))


def ps(models: Iterable[Listed]) -> bytes:
    """The body of `/api/ps`: what an engine behind us has loaded stays loaded."""
    return _encode(_Models([_loaded(model) for model in models]))


def show(model: Listed) -> bytes:
    """The body of `/api/show`."""
    return _encode(
        _Shown(
            license="",
            modelfile=f"# Served by {model.kind.label} behind Penstock.\nFROM {model.model}\n",
            parameters="",
            template="",
            details=_details(model),
            model_info=_info(model),
            capabilities=model.capabilities,
            modified_at=moment(model.modified),
        )
    )


def version(number: str) -> bytes:
    """The body of `/api/version`: the version of Ollama's API that we speak."""
    return _encode(_Version(number))


def digest(model: Listed) -> str:
    """The weights' digest, or one of the name: clients cut twelve characters off it and compare the rest for equality."""
    return model.digest or hashlib.sha256(f"{model.kind}:{model.model}".encode()).hexdigest()


def parameter_size(count: int | None) -> str:
    """A number of parameters the way Ollama prints it: 8.0B, 2.76M, 12K."""
    if not count:
        return ""
    for unit, letter, digits in ((10**9, "B", 1), (10**6, "M", 2), (10**3, "K", 0)):
        if count >= unit:
            return f"{count // unit}{letter}" if count % unit == 0 else f"{count / unit:.{digits}f}{letter}"
    return str(count)


def _tag(model: Listed) -> _Tag:
    name = tagged(model.name)
    return _Tag(
        name=name,
        model=name,
        modified_at=moment(model.modified),
        size=model.size,
        digest=digest(model),
        details=_details(model),
        capabilities=model.capabilities,
    )


def _loaded(model: Listed) -> _Loaded:
    name = tagged(model.name)
    return _Loaded(
        name=name,
        model=name,
        size=model.size,
        digest=digest(model),
        details=_details(model),
        expires_at=FOREVER,
        size_vram=model.size,
        context_length=model.context_length or 0,
    )


def _details(model: Listed) -> _Details:
    return _Details(
        parent_model="",
        format=_FORMATS[model.kind],
        family=model.family,
        families=[model.family] if model.family else [],
        parameter_size=parameter_size(model.parameter_count),
        quantization_level=model.quantization,
        context_length=model.context_length or 0,
        embedding_length=model.embedding_length or 0,
    )


def _info(model: Listed) -> dict[str, str | int]:
    """GGUF's names; clients look for `<architecture>.context_length`."""
    architecture = model.family or model.kind.value
    info: dict[str, str | int] = {
        "general.architecture": architecture,
        "general.basename": model.model,
        "general.parameter_count": model.parameter_count or 0,
    }
    if model.context_length:
        info[f"{architecture}.context_length"] = model.context_length
    if model.embedding_length:
        info[f"{architecture}.embedding_length"] = model.embedding_length
    return info
