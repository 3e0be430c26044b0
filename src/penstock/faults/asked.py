"""What a request asks of the scripted engine, read from any of the protocols it speaks. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from penstock.faults.refused import Refused, wrong_type
from penstock.faults.words import split, token_id

Body = Mapping[str, Any]


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """One request, whatever protocol it came in."""

    model: str
    stream: bool = False
    include_usage: bool = False
    prompt: str = ""
    """Everything the model is to read, joined."""
    last: str = ""
    """The last user message's text: what a default script echoes."""
    limit: int | None = None
    limit_name: str = "max_tokens"
    """What the request called it."""
    offered: dict[str, object] = {}
    """Functions offered, name → parameters schema."""
    forced: str | None = None
    """Function that must be called; `*`: any."""
    resulted: bool = False
    """The conversation ends with a tool's result."""
    schema: object = None
    """JSON schema the answer must satisfy; True: any JSON object."""
    stop: tuple[str, ...] = ()
    ids: bool = False
    logprobs: bool = False
    continued: str = ""
    """Text of an assistant message to be continued (`continue_final_message`)."""
    prompt_ids: tuple[int, ...] = ()
    """A prompt given as tokens."""

    @property
    def prompt_tokens(self) -> list[str]:
        return [str(number) for number in self.prompt_ids] or split(self.prompt)

    @property
    def prompted(self) -> list[int]:
        """The ids of the prompt."""
        return list(self.prompt_ids) or [token_id(token) for token in split(self.prompt)]


def decode(raw: bytes) -> Body:
    """The JSON object of a request body, refused in vLLM's words where it is none."""
    try:
        body: Body = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise wrong_type("0", "json_invalid", "JSON decode error", str(error)) from error
    if not isinstance(body, dict):
        raise wrong_type("", "model_attributes_type", "Input should be a valid dictionary", body)
    return body


def need(body: Body, *fields: str) -> None:
    for field in fields:
        if field not in body:
            raise Refused(
                400,
                f"1 validation error:\n  {{'type': 'missing', 'loc': 'body.{field}', 'msg': 'Field required'}}",
                kind="Bad Request",
                param=f"body.{field}",
            )


def chat(body: Body) -> Asked:
    need(body, "messages")
    messages = body["messages"]
    choice = body.get("tool_choice", "auto")
    offered = {tool["function"]["name"]: tool["function"].get("parameters", {}) for tool in body.get("tools") or ()}
    options = body.get("stream_options") or {}
    last = messages[-1] if messages else {}
    limit_name = "max_tokens" if body.get("max_completion_tokens") is None else "max_completion_tokens"
    return Asked(
        model=body.get("model", ""),
        stream=bool(body.get("stream")),
        include_usage=bool(options.get("include_usage")),
        prompt="\n".join(f"{message.get('role')}: {text_of(message.get('content'))}" for message in messages),
        last=last_user(messages),
        limit=body.get(limit_name),
        limit_name=limit_name,
        offered={} if choice == "none" else offered,
        forced=_forced(choice),
        resulted=last.get("role") == "tool",
        schema=_schema(body),
        stop=_stop(body.get("stop")),
        ids=bool(body.get("return_token_ids")),
        logprobs=bool(body.get("logprobs")),
        continued=text_of(last.get("content")) if body.get("continue_final_message") else "",
    )


def completion(body: Body) -> Asked:
    need(body, "prompt")
    prompt = body["prompt"]
    text = prompt if isinstance(prompt, str) else "\n".join(map(str, prompt))
    options = body.get("stream_options") or {}
    return Asked(
        model=body.get("model", ""),
        stream=bool(body.get("stream")),
        include_usage=bool(options.get("include_usage")),
        prompt=text,
        last=text,
        prompt_ids=tuple(prompt) if isinstance(prompt, list) and all(isinstance(one, int) for one in prompt) else (),
        limit=16 if body.get("max_tokens") is None else body["max_tokens"],
        schema=_schema(body),
        stop=_stop(body.get("stop")),
        ids=bool(body.get("return_token_ids")),
        logprobs=body.get("logprobs") is not None,
    )


def messages_api(body: Body) -> Asked:
    need(body, "messages", "max_tokens")
    conversation = body["messages"]
    choice = body.get("tool_choice") or {}
    blocks = conversation[-1].get("content") if conversation else ""
    resulted = isinstance(blocks, list) and any(
        isinstance(block, Mapping) and block.get("type") == "tool_result" for block in blocks
    )
    return Asked(
        model=body.get("model", ""),
        stream=bool(body.get("stream")),
        include_usage=True,
        prompt="\n".join([text_of(body.get("system")), *(text_of(turn.get("content")) for turn in conversation)]),
        last=last_user(conversation),
        limit=body["max_tokens"],
        offered={tool["name"]: tool.get("input_schema", {}) for tool in body.get("tools") or ()},
        forced={"tool": choice.get("name"), "any": "*"}.get(choice.get("type", "")),
        resulted=resulted,
    )


def responses(body: Body) -> Asked:
    need(body, "input")
    given = body["input"]
    turns = [{"role": "user", "content": given}] if isinstance(given, str) else given
    return Asked(
        model=body.get("model", ""),
        stream=bool(body.get("stream")),
        include_usage=True,
        prompt="\n".join([body.get("instructions") or "", *(text_of(turn.get("content")) for turn in turns)]),
        last=last_user(turns),
        limit=body.get("max_output_tokens"),
        limit_name="max_output_tokens",
        offered={tool["name"]: tool.get("parameters", {}) for tool in body.get("tools") or () if "name" in tool},
        resulted=bool(turns) and turns[-1].get("type") == "function_call_output",
    )


def last_user(messages: Sequence[Body]) -> str:
    """Text of the last message of a user."""
    users = [message for message in messages if message.get("role") == "user"]
    return text_of(users[-1].get("content")) if users else ""


def text_of(content: object) -> str:
    """The text of a message's content, a string or parts."""
    if isinstance(content, str):
        return content
    if isinstance(content, Sequence):
        parts = [part for part in content if isinstance(part, Mapping)]
        return "".join(str(part.get("text", f"<{part.get('type')}>")) for part in parts)
    return ""


def _forced(choice: object) -> str | None:
    if isinstance(choice, Mapping):
        name = (choice.get("function") or {}).get("name")
        return str(name) if name else None
    return "*" if choice == "required" else None


def _schema(body: Body) -> object:
    form = body.get("response_format") or {}
    if form.get("type") == "json_object":
        return True
    if form.get("type") == "json_schema":
        if not form.get("json_schema"):
            raise Refused(
                400, "response_format.type is json_schema, but json_schema is not given.", param="json_schema"
            )
        return form["json_schema"].get("schema") or {}
    outputs = body.get("structured_outputs") or {}
    return outputs.get("json")


def _stop(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    return tuple(map(str, value)) if isinstance(value, list) else ()
