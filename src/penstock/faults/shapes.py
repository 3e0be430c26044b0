"""Which types a request's fields must have, as far as the scripted engine reads them; wrong ones are refused as vLLM does.

Pydantic's lax mode, which vLLM uses, takes `5.0` and `"5"` for the integer 5, and so do we. What an engine does with the
values is not decided here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from penstock.faults.refused import Refused, wrong_type

Object = dict[str, Any]


class _Message(msgspec.Struct):
    role: str = ""
    content: str | list[Object | str] | None = None


class _Options(msgspec.Struct):
    include_usage: bool | None = None


class _Function(msgspec.Struct):
    name: str
    parameters: Object | None = None


class _FunctionName(msgspec.Struct):
    name: str = ""


class _Forced(msgspec.Struct):
    function: _FunctionName | None = None


class _Tool(msgspec.Struct):
    function: _Function


class _Schema(msgspec.Struct):
    schema: Object | None = None


class _Format(msgspec.Struct):
    type: str = ""
    json_schema: _Schema | None = None


class _Outputs(msgspec.Struct):
    json: str | Object | None = None


class _Common(msgspec.Struct):
    model: str | None = None
    stream: bool | None = None
    stream_options: _Options | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop: str | list[str] | None = None
    response_format: _Format | None = None
    structured_outputs: _Outputs | None = None


class _Chat(_Common):
    messages: list[_Message] = []
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    tools: list[_Tool] | None = None
    tool_choice: str | _Forced | None = None


class _Completion(_Common):
    prompt: str | list[str | int | list[int]] = ""
    max_tokens: int | None = None


class _MessagesTool(msgspec.Struct):
    name: str
    input_schema: Object | None = None


class _ResponsesTool(msgspec.Struct):
    name: str = ""
    parameters: Object | None = None


class _Choice(msgspec.Struct):
    type: str = ""
    name: str | None = None


class _Messages(msgspec.Struct):
    messages: list[_Message] = []
    model: str | None = None
    stream: bool | None = None
    max_tokens: int | None = None
    system: str | list[Object] | None = None
    tools: list[_MessagesTool] | None = None
    tool_choice: _Choice | None = None


class _Responses(msgspec.Struct):
    input: str | list[Object] = ""
    model: str | None = None
    stream: bool | None = None
    instructions: str | None = None
    max_output_tokens: int | None = None
    previous_response_id: str | None = None
    store: bool | None = None
    tools: list[_ResponsesTool] | None = None


class _Embeddings(msgspec.Struct):
    input: str | list[str | int | list[int]] = ""
    model: str | None = None
    dimensions: int | None = None


class _Score(msgspec.Struct):
    model: str | None = None
    text_1: str | list[str] | None = None
    text_2: str | list[str] | None = None
    queries: str | list[str] | None = None
    documents: str | list[str] | None = None


class _Rerank(msgspec.Struct):
    model: str | None = None
    query: str = ""
    documents: list[str] = []
    top_n: int = 0


class _Tokenize(msgspec.Struct):
    model: str | None = None
    prompt: str = ""
    messages: list[_Message] = []


class _Detokenize(msgspec.Struct):
    model: str | None = None
    tokens: list[int] = []


_SHAPES: dict[str, type[msgspec.Struct]] = {
    "/chat/completions": _Chat,
    "/completions": _Completion,
    "/messages": _Messages,
    "/messages/count_tokens": _Messages,
    "/responses": _Responses,
    "/embeddings": _Embeddings,
    "/score": _Score,
    "/rerank": _Rerank,
    "/tokenize": _Tokenize,
    "/detokenize": _Detokenize,
}
_WORDS = (
    # what msgspec expected, pydantic's type of error and its words; unions go by their first member that stands here
    ("array", "list_type", "Input should be a valid list"),
    ("object", "dict_type", "Input should be a valid dictionary"),
    ("str", "string_type", "Input should be a valid string"),
    ("int", "int_type", "Input should be a valid integer"),
    ("float", "float_type", "Input should be a valid number"),
    ("bool", "bool_type", "Input should be a valid boolean"),
)
_EXPECTED = re.compile(r"Expected `([^`]*)`")
_PLACE = re.compile(r" - at `\$\.?([^`]*)`$")
_UNPARSED = {
    "int_type": ("int_parsing", ", unable to parse string as an integer"),
    "float_type": ("float_parsing", ", unable to parse string as a number"),
    "bool_type": ("bool_parsing", ", unable to interpret input"),
}
"""Text where pydantic would have read it, had it been able to."""


def typed(path: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """The body with numbers as numbers; `Refused` names the field that cannot be read."""
    shape = _SHAPES.get(path.removeprefix("/v1").removeprefix("/v2"))
    if shape is None:
        return dict(body)
    try:
        read = msgspec.convert(body, shape, strict=False)
    except msgspec.ValidationError as error:
        raise _refused(str(error), body) from None
    fields = [name for name in shape.__struct_fields__ if isinstance(body.get(name), str | int | float)]
    return {**body, **{name: getattr(read, name) for name in fields}}


def _refused(told: str, body: Mapping[str, Any]) -> Refused:
    place = _PLACE.search(told)
    steps = re.findall(r"[^.\[\]]+", place[1]) if place else []
    value: Any = body
    for step in steps:
        value = value[int(step)] if isinstance(value, list) else value.get(step)
    if "missing required" in told:
        return wrong_type(".".join([*steps, told.split("`")[1]]), "missing", "Field required", value)
    expected = _EXPECTED.search(told)
    names = expected[1].split(" | ") if expected else []
    _, kind, words = next((row for row in _WORDS if row[0] in names), ("", "value_error", told))
    if isinstance(value, str) and kind in _UNPARSED:
        kind, more = _UNPARSED[kind]
        words += more
    return wrong_type(".".join(steps), kind, words, value)
