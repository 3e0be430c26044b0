"""What people pass to a client, turned into an `Ask` and `Engines` once, for the plain classes and the LangChain ones.

An argument that nobody knows is an error that names the nearest; two spellings that disagree are an error that names
both. No I/O here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from penstock import environment
from penstock.address import base_url as normal_url
from penstock.address import ollama_url
from penstock.client.ask import Ask, Message, ToolCall
from penstock.client.engines import Engines
from penstock.client.options import SPELLINGS, changed
from penstock.client.place import Target
from penstock.client.retry import Policy
from penstock.errors import ConfigError
from penstock.model_names import tag_of
from penstock.shape import nearest
from penstock.types import Kind

DEFAULT_OPTIONS = {"top_p": 0.9, "top_k": 40}
"""Of the VLLMConfig that a document promises (S1.19), and Ollama's own."""
_MEMBERS = {
    "model": "model",
    "raw": "raw",
    "system": "system",
    "suffix": "suffix",
    "format": "format",
    "tools": "tools",
    "tool_choice": "tool_choice",
    "keep_alive": "keep_alive",
    "logprobs": "logprobs",
    "thinking": "thinking",
    "think": "thinking",
    "reasoning": "thinking",
    "extra_body": "extra",
    "timeout": "timeout",
}
"""Arguments of a call that are no sampling options, and the field of `Ask` they go to."""
KNOWN = frozenset({*SPELLINGS, *_MEMBERS, "options"})


def asked(default: Ask, given: Mapping[str, Any]) -> Ask:
    """The ask with the arguments of one call; `options` may hold several of them, as in Ollama's own API."""
    if not given:
        return default
    values = {_MEMBERS[name]: value for name, value in given.items() if name in _MEMBERS and value is not None}
    options = given.get("options") or {}
    unknown = [name for name in given if name not in KNOWN] + [name for name in options if name not in SPELLINGS]
    if unknown:
        raise TypeError(f"unknown argument {unknown[0]!r}; {nearest(unknown[0], sorted(KNOWN))}")
    sampling = {name: value for name, value in given.items() if name in SPELLINGS}
    values["options"] = changed(default.options, {**options, **sampling})
    if values.get("format") == "":
        values["format"] = None
    if "tools" in values:
        values["tools"] = tuple(values["tools"])
    return msgspec.structs.replace(default, **values)


def engines(  # noqa: PLR0913 - the documents' arguments, all by name
    kind: Kind,
    model: str,
    url: str,
    *,
    api_key: str = "",
    fallback: str | Target | None = None,
    fallback_model: str | None = None,
    fallback_policy: str = "any",
    timeout: float | None = 90.0,
    retry_attempts: int = 3,
    retry_delay: float = 1.0,
    connect_timeout: float = 2.0,
    verify: bool | str = True,
) -> Engines:
    """One engine, or two where `fallback` names an Ollama (its URL) or any other Target."""
    if fallback_policy not in {"any", "same-model", "never"}:
        raise ConfigError(f"fallback_policy={fallback_policy!r} cannot be used.", hint="any, same-model or never.")
    policy = Policy(
        timeout=90.0 if timeout is None else timeout,
        attempts=retry_attempts,
        delay=retry_delay,
        connect=connect_timeout,
    )
    first = Target(kind, url, model, api_key)
    return Engines(
        first, _spare(fallback, fallback_model, model), policy=policy, fallback=fallback_policy, verify=verify
    )


def one_url(default: str, **given: str | None) -> str:
    """The URL that the arguments agree on, in its normal form; a ConfigError names two that do not."""
    found: dict[str, str] = {}
    for name, text in given.items():
        if text:
            try:
                found[name] = normal_url(text)
            except ValueError as expected:
                shown = re.sub("//[^/@]*@", "//…@", text)  # a password does not go into an error
                raise ConfigError(f"{name}={shown!r} cannot be used.", hint=f"It expects {expected}.") from None
    if len(set(found.values())) > 1:
        told = " and ".join(f"{name}={given[name]!r}" for name in found)
        raise ConfigError(f"{told} name two different engines.", hint="Give one of them, or both alike.")
    return next(iter(found.values()), default)


def usual(kind: Kind, environ: Mapping[str, str]) -> tuple[str, str]:
    """Where an engine of this kind is when the code does not say, and the key that belongs to that place."""
    names = environment.OLLAMA_URLS if kind is Kind.OLLAMA else environment.ENGINE_URLS
    urls = environment.agreed_url(environ, names)
    default = environment.DEFAULT_OLLAMA if kind is Kind.OLLAMA else environment.DEFAULT_VLLM
    keyed = any(name.startswith("OPENAI") for name in urls)
    return next(iter(urls.values()), default), environ.get("OPENAI_API_KEY", "").strip() if keyed else ""


def messages(given: object) -> tuple[Message, ...]:
    """A conversation as people write it: text, or a list of `Message`, `(role, text)` or OpenAI's mappings."""
    if isinstance(given, str):
        return (Message("user", given),)
    if not isinstance(given, Sequence):
        raise TypeError(f"expected text or a list of messages, not {type(given).__name__}")
    return tuple(_message(one) for one in given)


def _message(given: object) -> Message:
    if isinstance(given, Message):
        return given
    if isinstance(given, str):
        return Message("user", given)
    if isinstance(given, tuple) and len(given) == 2:
        role, content = given
        return Message(_ROLES.get(str(role), str(role)), str(content))
    if isinstance(given, Mapping):
        return _mapped(given)
    raise TypeError(f"a message is text, (role, text) or a mapping with role and content, not {type(given).__name__}")


_ROLES = {"human": "user", "ai": "assistant"}


def _mapped(given: Mapping[str, Any]) -> Message:
    content = given.get("content") or ""
    images = [str(one) for one in given.get("images") or ()]
    if not isinstance(content, str):
        texts = []
        for part in content:
            if part.get("type") == "image_url":
                url = part["image_url"]
                images.append(url["url"] if isinstance(url, Mapping) else str(url))
            else:
                texts.append(str(part.get("text", "")))
        content = "".join(texts)
    role = str(given.get("role", "user"))
    return Message(
        role=_ROLES.get(role, role),
        content=content,
        images=tuple(images),
        tool_calls=tuple(_calls(given.get("tool_calls") or ())),
        tool_call_id=str(given.get("tool_call_id") or ""),
        name=str(given.get("name") or given.get("tool_name") or ""),
    )


def _calls(given: Iterable[Mapping[str, Any]]) -> Iterable[ToolCall]:
    for one in given:
        function = one["function"]
        arguments = function.get("arguments") or "{}"
        text = arguments if isinstance(arguments, str) else msgspec.json.encode(arguments).decode()
        yield ToolCall(str(function["name"]), text, str(one.get("id") or ""))


def _spare(fallback: str | Target | None, model: str | None, first: str) -> Target | None:
    if fallback is None or isinstance(fallback, Target):
        return fallback
    name = model or tag_of(first)
    if name is None:
        raise ConfigError(
            f"fallback={fallback!r}: nothing says what Ollama calls the model {first!r}.", hint="Give fallback_model."
        )
    return Target(Kind.OLLAMA, ollama_url(fallback), name)
