"""A request held to the rules of its alias, and written anew: what is refused, what is put first, what is taken out.

The order is: what cannot be looked into, tools, what is found in texts, the operator's own texts around them, and how long it
has become. A body is taken apart here and put together again, so that whoever reads it next sees what was looked at: a key
that stands there twice, or is spelled with escapes, means one thing afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from penstock.errors import BadRequest, Filtered, Withheld
from penstock.guardrails import walk
from penstock.guardrails.rules import COVERED, PLACE, Rules
from penstock.guardrails.text import Verdicts, stopped
from penstock.guardrails.walk import Json, Object
from penstock.protocols.dialect import Call
from penstock.types import Face, Operation

LARGEST = 8 * 1024 * 1024
"""Bytes of a request that is looked through."""
TOKEN = 4
"""Bytes of text for one token: an estimate, low for scripts other than Latin."""

_UNREADABLE = ("prompt_embeds", "context", "kv_transfer_params", "ec_transfer_params", "mm_payload")
"""A prompt in a form that holds no text to look at."""
_AROUND = ("chat_template", "template", "raw", "suffix", "continue_final_message", "documents")
"""What would put something before the operator's text, or in its place."""
_TELLING = (
    "logprobs", "top_logprobs", "prompt_logprobs", "return_token_ids", "return_tokens_as_token_ids", "return_prompt_text",
    "return_token_offsets", "logprob_token_ids", "echo",
)  # fmt: skip
"""Asks for the answer, or the prompt, once more in another form."""
_STORED = ("background", "previous_response_id", "conversation")
_KEYS = frozenset(
    {"model", "messages", "prompt", "input", "system", "instructions", "tools", "functions", "stream", "store", *_UNREADABLE, *_AROUND, *_TELLING, *_STORED}
)  # fmt: skip
_NOTHING: tuple[Json, ...] = (None, False, 0, "", [], {})
_MEDIA = frozenset(
    {"image_url", "input_audio", "audio_url", "video_url", "file", "file_data", "file_id", "file_url", "image", "images", "source", "document"}
)  # fmt: skip
_LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens")


def held(rules: Rules, call: Call, verdicts: Verdicts) -> Call:
    """The request as it may go on; `Filtered` where it may not."""
    if call.operation not in COVERED:
        raise stopped("coverage", "input", verdicts, f"{call.path} cannot be kept to the guardrails of this model")
    if call.idle:
        return call
    if rules.looks and len(call.body) > LARGEST:
        raise stopped("coverage", "input", verdicts, f"it has more than {LARGEST} bytes")
    body = _read(call.body)
    _check(rules, call, body, verdicts)
    if rules.looks:
        body = _looked(rules, body, verdicts)
    if rules.template is not None:
        _wrap(rules.template.text, call, body, verdicts)
    if rules.system is not None:
        _put_first(rules.system.text, call, body, verdicts)
    if rules.max_context is not None:
        _measure(rules.max_context, body, verdicts)
    if rules.listens and call.operation is Operation.RESPONSES:
        body["store"] = False  # what an engine keeps is asked of it without us
    return msgspec.structs.replace(call, body=walk.encode(body))


def _read(data: bytes) -> Object:
    try:
        return walk.read(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f"Reading the request body: {error}.") from None


# ── what is not taken ────────────────────────────────────────────────────────────────────────────────────────────────


def _check(rules: Rules, call: Call, body: Object, verdicts: Verdicts) -> None:
    def refuse(step: str, why: str) -> Filtered | Withheld:
        return stopped(step, "input", verdicts, why)

    named = _field(rules, body)
    if named:
        raise refuse("coverage", named)
    if rules.looks and any(walk.holds_tokens(body.get(name)) for name in ("prompt", "input")):
        raise refuse("coverage", "tokens cannot be looked into; send text")
    if not rules.media and _media(body):
        raise refuse("coverage", "pictures, sounds and files cannot be looked into")
    if call.stream and not rules.streams:
        raise refuse("answer_schema", "answers of this model are not streamed")
    if rules.tools is not None:
        for tool in _tools(body):
            if tool not in rules.tools:
                raise refuse("tools", f"{tool[:64]!r} may not be offered" if tool else "a tool has no name")


def _field(rules: Rules, body: Object) -> str:
    """Why some field of it is not taken; empty for none."""
    for name in body:
        if name.lower() in _KEYS and name not in _KEYS:
            return f"{name!r} is not how this field is spelled"
    for name in _not_taken(rules):
        if body.get(name) not in _NOTHING:
            return f"{name!r} cannot be kept to the guardrails of this model"
    return ""


def _not_taken(rules: Rules) -> Iterator[str]:
    """Fields that would go by some rule."""
    if rules.looks:
        yield from _UNREADABLE
    if rules.looks or rules.listens:
        yield from _STORED
    if rules.system is not None or rules.template is not None:
        yield from _AROUND
    if rules.listens:
        yield from _TELLING


def _media(value: Json) -> bool:
    if isinstance(value, dict):
        return any(
            (name in _MEDIA and one not in _NOTHING and not isinstance(one, bool)) or _media(one)
            for name, one in value.items()
            if name not in {"tools", "response_format", "parameters"}
        )
    return isinstance(value, list) and any(map(_media, value))


def _tools(body: Object) -> Iterator[str]:
    """Names of the tools that are offered, as each protocol writes them."""
    for one in (*walk.items(body.get("tools")), *walk.items(body.get("functions"))):
        tool = walk.members(one)
        inner = walk.members(tool.get("function"))
        yield walk.text(inner.get("name")) or walk.text(tool.get("name")) or walk.text(tool.get("type"))


# ── what is found ────────────────────────────────────────────────────────────────────────────────────────────────────


def _looked(rules: Rules, body: Object, verdicts: Verdicts) -> Object:
    chain = rules.asked(verdicts)

    def clean(text: str) -> str:
        if len(text) < rules.shortest:
            return text
        verdicts.spend("input")
        return chain.feed(text) + chain.end()

    try:
        return walk.members(walk.changed(body, clean, {"model"}))
    except ValueError as error:
        raise BadRequest(f"Reading the request body: {error}.") from None


# ── what is put around it ────────────────────────────────────────────────────────────────────────────────────────────


def _put_first(text: str, call: Call, body: Object, verdicts: Verdicts) -> None:
    if call.face is Face.ANTHROPIC:
        own = body.get("system")
        body["system"] = [{"type": "text", "text": text}, *own] if isinstance(own, list) else _joined(text, own)
    elif call.operation is Operation.RESPONSES:
        body["instructions"] = _joined(text, body.get("instructions"))
    elif call.path == "/api/generate":
        body["system"] = _joined(text, body.get("system"))
    elif call.operation is Operation.CHAT:
        messages = walk.items(body.get("messages"))
        first = walk.members(messages[0]) if messages else {}
        # Templates of many models take one system message, and at the beginning: the client's own follows within it.
        if first.get("role") in {"system", "developer"} and isinstance(first.get("content"), str):
            messages = [{**first, "role": "system", "content": _joined(text, first["content"])}, *messages[1:]]
        else:
            messages = [{"role": "system", "content": text}, *messages]
        body["messages"] = messages
    else:
        raise stopped("system", "input", verdicts, f"{call.path} has no place for a system text")


def _joined(text: str, own: Json) -> str:
    return f"{text}\n\n{own}" if isinstance(own, str) and own else text


def _wrap(text: str, call: Call, body: Object, verdicts: Verdicts) -> None:
    """The template around the last thing that a user says."""
    if "messages" not in body:
        name = "input" if call.operation is Operation.RESPONSES else "prompt"
        if not isinstance(body.get(name), str):
            raise stopped("template", "input", verdicts, f"{name} is not one text")
        body[name] = text.replace(PLACE, walk.text(body[name]))
        return
    messages = walk.items(body["messages"])
    for place in range(len(messages) - 1, -1, -1):
        message = walk.members(messages[place])
        if message.get("role") != "user":
            continue
        content = message.get("content")
        if isinstance(content, str):
            messages[place] = {**message, "content": text.replace(PLACE, content)}
            return
        parts = walk.items(content)
        for at, part in enumerate(parts):
            inner = walk.members(part)
            if inner.get("type") == "text":
                parts[at] = {**inner, "text": text.replace(PLACE, walk.text(inner.get("text")))}
                return
    raise stopped("template", "input", verdicts, "no user says anything")


def _measure(most: int, body: Object, verdicts: Verdicts) -> None:
    asked = next((one for name in _LIMITS if isinstance(one := body.get(name), int)), None)
    options = walk.members(body.get("options"))
    answer = asked if asked is not None else options.get("num_predict")
    spoken = {
        name: one
        for name, one in body.items()
        if name in {"messages", "prompt", "input", "system", "instructions", "tools", "functions"}
    }
    prompt = -(-walk.size(spoken) // TOKEN)
    whole = prompt + (answer if isinstance(answer, int) and answer > 0 else 0)
    if whole > most:
        raise stopped("max_context", "input", verdicts, f"about {whole} tokens with its answer, and {most} are allowed")
