"""Answers that fit a schema: what to ask for, and what reads the answer."""

from __future__ import annotations

from collections.abc import Mapping
from operator import itemgetter
from typing import Any, NamedTuple

from langchain_core.language_models import LanguageModelInput
from langchain_core.output_parsers import BaseOutputParser, JsonOutputParser, PydanticOutputParser
from langchain_core.runnables import Runnable, RunnableMap, RunnablePassthrough
from langchain_core.utils.function_calling import convert_to_json_schema
from langchain_core.utils.pydantic import is_basemodel_subclass
from pydantic import BaseModel
from pydantic.v1 import BaseModel as BaseModelV1

Parsed = Runnable[LanguageModelInput, dict[str, Any] | BaseModel]


class Wanted(NamedTuple):
    """A form of answer."""

    format: str | dict[str, Any]
    parser: BaseOutputParser[Any]
    schema: object
    """As tracing shows it."""


def wanted(schema: dict[str, Any] | type | None, method: str) -> Wanted:
    """For the methods `json_mode` and `json_schema`."""
    if method not in {"json_mode", "json_schema"}:
        raise ValueError(
            "Unrecognized method argument. Expected one of 'function_calling', 'json_schema', or 'json_mode'. "
            f"Received: {method!r}"
        )
    model = model_of(schema)
    parser: BaseOutputParser[Any] = PydanticOutputParser(pydantic_object=model) if model else JsonOutputParser()
    if method == "json_mode":
        return Wanted("json", parser, schema)
    if schema is None:
        raise ValueError("schema must be specified when method is not 'json_mode'. Received None.")
    json_schema = _json_schema(schema)
    return Wanted(json_schema, parser, schema if model else json_schema)


def model_of(schema: object) -> type[Any] | None:
    """The schema as a pydantic class, where it is one."""
    return schema if isinstance(schema, type) and is_basemodel_subclass(schema) else None


def refused(given: Mapping[str, Any]) -> None:
    """Arguments that nobody reads; `strict` is other engines' and does no harm."""
    unknown = {name: value for name, value in given.items() if name != "strict"}
    if unknown:
        raise ValueError(f"Received unsupported arguments {unknown}")


def parsed(model: Runnable[LanguageModelInput, Any], parser: Runnable[Any, Any], *, include_raw: bool) -> Parsed:
    """The model with the parser behind it; with `include_raw`, both answers and what went wrong between them."""
    if not include_raw:
        return model | parser
    tried = RunnablePassthrough.assign(parsed=itemgetter("raw") | parser, parsing_error=lambda _: None)
    failed = RunnablePassthrough.assign(parsed=lambda _: None)
    return RunnableMap(raw=model) | tried.with_fallbacks([failed], exception_key="parsing_error")


def _json_schema(schema: dict[str, Any] | type) -> dict[str, Any]:
    if isinstance(schema, dict):
        # an OpenAI function carries its schema under another name
        function = schema.get("function", schema)
        return dict(function["parameters"]) if "parameters" in function and "name" in function else schema
    if issubclass(schema, BaseModelV1):
        return dict(schema.schema())
    if model := model_of(schema):
        return dict(model.model_json_schema())
    found = convert_to_json_schema(schema)
    if "required" not in found:  # a TypedDict, whose members are all there unless it says otherwise
        found["required"] = list(found["properties"])
    return found
