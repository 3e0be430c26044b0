"""How the rest of a broken answer can be asked for, and the requests that do so. Bytes in, bytes out.

Three ways, of which the first that gives the exact answer is taken:

    tokens   `/v1/completions` with the prompt's and the answer's own token ids as its prompt
    replay   the same request once more; what the client has is compared and left out
    prefill  a chat that ends in what was said, with `continue_final_message`: where an engine tells no token ids

What stands here by name was looked at in vLLM's sources: a field that is not known to mean the same in the middle of an
answer as at its beginning rules `tokens` out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum

import msgspec

from penstock.protocols.ollama_types import NOTHING

Fields = Mapping[str, msgspec.Raw]


class How(StrEnum):
    """How the rest is asked for."""

    TOKENS = "tokens"
    REPLAY = "replay"
    PREFILL = "prefill"


_SAME = frozenset(
    {
        "allowed_token_ids", "cache_salt", "ignore_eos", "include_stop_str_in_output", "logit_bias", "min_p", "priority",
        "repetition_penalty", "session_id", "skip_special_tokens", "stop", "stop_token_ids", "stream_interval",
        "temperature", "top_k", "top_p", "user",
    }
)  # fmt: skip
"""Mean the same after some tokens as before any, and go along. A repetition penalty counts the prompt's tokens as well."""
_COUNTED = frozenset({"max_tokens", "max_completion_tokens", "min_tokens"})
_SPENT = frozenset(
    {
        "add_generation_prompt", "add_special_tokens", "best_of", "chat_template", "chat_template_kwargs",
        "continue_final_message", "documents", "include_reasoning", "length_penalty", "metadata", "model",
        "parallel_tool_calls", "prompt_cache_key", "reasoning_effort", "return_token_ids", "safety_identifier",
        "service_tier", "store", "stream", "stream_options", "tool_choice", "top_logprobs", "truncate_prompt_tokens",
        "truncation_side", "verbosity",
    }
)  # fmt: skip
"""Have done their work in the prompt's tokens, or have none to do in a stream of text."""
_NOTHING = frozenset({b"null", b"false", b"[]", b"{}", b'""'})
_HARMLESS: dict[str, frozenset[bytes]] = {
    "n": frozenset({b"1"}),
    "presence_penalty": frozenset({b"0", b"0.0"}),
    "frequency_penalty": frozenset({b"0", b"0.0"}),
    "spaces_between_special_tokens": frozenset({b"true"}),
}
_EPSILON = 1e-5
"""Below it vLLM takes the likeliest token."""


def fields(body: bytes) -> Fields:
    """The top level of a request that was written by a pairing."""
    return msgspec.json.decode(body, type=dict[str, msgspec.Raw])


class _Number(msgspec.Struct):
    temperature: float | None = None
    top_k: float | None = None
    seed: int | None = None


def _numbers(asked: Fields) -> _Number:
    given = {name: asked[name] for name in ("temperature", "top_k", "seed") if name in asked}
    try:
        return msgspec.json.decode(msgspec.json.encode(given), type=_Number, strict=False)
    except msgspec.DecodeError:
        return _Number()


def greedy(asked: Fields) -> bool:
    """Whether each token is the likeliest one."""
    found = _numbers(asked)
    return (found.temperature is not None and found.temperature < _EPSILON) or found.top_k == 1


def repeatable(asked: Fields) -> bool:
    """Whether the same request gives the same answer again, as far as one can tell from it."""
    return greedy(asked) or _numbers(asked).seed is not None


class _Part(msgspec.Struct):
    type: str = "text"


class _Message(msgspec.Struct):
    content: msgspec.Raw = NOTHING


def obstacle(asked: Fields) -> str:
    """The field that means something else in the middle of an answer; empty where there is none."""
    for name, raw in asked.items():
        value = bytes(raw)
        if value in _NOTHING or name in _SAME or name in _SPENT or value in _HARMLESS.get(name, ()):
            continue
        if not (value.isdigit() if name in _COUNTED else _passes(name, asked)):
            return name
    return ""


def _passes(name: str, asked: Fields) -> bool:
    check = _CHECKS.get(name)
    try:
        return check is not None and check(asked)
    except msgspec.DecodeError:
        # The engine reads it, and we do not.
        return False


def several(asked: Fields) -> bool:
    """Whether it asks for more than one answer."""
    if bytes(asked.get("n", NOTHING)) not in {b"", b"null", b"1"}:
        return True
    return "prompt" in asked and not _one_prompt(asked)


def _text_alone(asked: Fields) -> bool:
    """Pictures and sounds are not in the token ids that stand for them."""
    return all(_plain(message.content) for message in msgspec.json.decode(asked["messages"], type=list[_Message]))


def _plain(content: msgspec.Raw) -> bool:
    if not bytes(content).startswith(b"["):
        return True
    return all(part.type == "text" for part in msgspec.json.decode(content, type=list[_Part]))


def _one_prompt(asked: Fields) -> bool:
    prompt = bytes(asked["prompt"])
    return prompt.startswith(b'"') or prompt[1:].lstrip()[:1].isdigit()


def _free_form(asked: Fields) -> bool:
    return msgspec.json.decode(asked["response_format"], type=_Part).type == "text"


def _tools_unused(asked: Fields) -> bool:
    return bytes(asked.get("tool_choice", NOTHING)) == b'"none"'


_CHECKS: dict[str, Callable[[Fields], bool]] = {
    "messages": _text_alone,
    "prompt": _one_prompt,
    "response_format": _free_form,
    "seed": greedy,
    "tools": _tools_unused,
}


class Stops(msgspec.Struct, frozen=True):
    """What an engine holds back, in characters: it sends nothing that a stop string may yet begin with."""

    held: int = 0
    """Characters between what is sent and what is generated."""
    reach: int = 0
    """Characters before what comes next that a stop string may begin in."""


_stop = msgspec.json.Decoder(str | list[str] | None)


def stops(asked: Fields) -> Stops:
    """Of this request."""
    try:
        found = _stop.decode(asked.get("stop", msgspec.Raw(b"null")))
    except msgspec.DecodeError:
        return Stops()
    longest = max(map(len, [found] if isinstance(found, str) else found or ()), default=1) - 1
    if longest <= 0:
        return Stops()
    shown = bytes(asked.get("include_stop_str_in_output", NOTHING)) == b"true"
    return Stops(reach=longest) if shown else Stops(held=longest)


def limit(asked: Fields) -> int | None:
    """Tokens the answer may have; None where only the window limits it."""
    for name in ("max_completion_tokens", "max_tokens"):
        raw = asked.get(name, NOTHING)
        if bytes(raw).isdigit():
            return int(bytes(raw))
    return 16 if "prompt" in asked and "max_tokens" not in asked else None


def by_tokens(asked: Fields, prompt: bytes, answer: Sequence[int], left: int) -> bytes:
    """`/v1/completions` for what comes after these tokens; `prompt` is a JSON list, `left` the tokens it may still have."""
    given = [prompt.strip()[1:-1].strip(), b",".join(b"%d" % one for one in answer)]
    body: dict[str, object] = {name: raw for name, raw in asked.items() if name in _SAME}
    body |= {
        "model": asked["model"],
        "prompt": msgspec.Raw(b"[" + b",".join(part for part in given if part) + b"]"),
        "max_tokens": left,
        "stream": True,
        "stream_options": asked.get("stream_options", {"include_usage": True}),
        "add_special_tokens": False,
        "return_token_ids": True,
    }
    least = asked.get("min_tokens", NOTHING)
    if bytes(least).isdigit():
        body["min_tokens"] = max(0, int(bytes(least)) - len(answer))
    return msgspec.json.encode(body)


def by_prefill(asked: Fields, text: str) -> bytes:
    """A chat whose last message is to be gone on with."""
    messages = msgspec.json.decode(asked["messages"], type=list[msgspec.Raw])
    begun = msgspec.Raw(msgspec.json.encode({"role": "assistant", "content": text}))
    body = dict(asked) | {
        "messages": msgspec.Raw(msgspec.json.encode([*messages, begun])),
        "add_generation_prompt": msgspec.Raw(b"false"),
        "continue_final_message": msgspec.Raw(b"true"),
    }
    return msgspec.json.encode(body)
