"""What a penstock.yaml may hold, for machines (JSON Schema) and for readers (one row for each key).

Both come from the annotations in config.py, so neither can be behind it. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import NamedTuple

import msgspec
from msgspec import inspect

from penstock.config import Config
from penstock.units import seconds_text, share_text, size_text

TITLE = "penstock.yaml"


class Row(NamedTuple):
    """One key of the file."""

    key: str
    expects: str
    default: str
    meaning: str


def json_schema() -> str:
    """The JSON Schema (2020-12) as an editor reads it, with a closing newline."""
    schema = msgspec.json.schema(Config)
    # backends and aliases may be left out of a file when the environment names the engines.
    schema["$defs"]["Config"].pop("required", None)
    _or_text(schema)
    whole = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": TITLE, **schema}
    return json.dumps(whole, indent=2, sort_keys=False) + "\n"


def _or_text(schema: object) -> None:
    """Where a number may be spelled with a unit, the schema allows text of that pattern beside it, in place."""
    if isinstance(schema, list):
        for one in schema:
            _or_text(one)
    elif isinstance(schema, dict):
        if "pattern" in schema and schema.get("type") in ("number", "integer"):
            schema["type"] = [schema["type"], "string"]
        for one in schema.values():
            _or_text(one)


def rows() -> Iterator[Row]:
    """Every key in the order of the tree; NAME stands for a name of your own."""
    yield from _rows(inspect.type_info(Config), "")


def _rows(kind: inspect.Type, path: str) -> Iterator[Row]:
    if not isinstance(kind, inspect.StructType):
        return
    for field in kind.fields:
        key = f"{path}.{field.encode_name}" if path else field.encode_name
        bare, unit, meaning = _unwrapped(field.type)
        if meaning:
            yield Row(key, _expects(bare, unit), _default(field, unit), meaning)
        if isinstance(bare, inspect.DictType):
            yield from _rows(_unwrapped(bare.value_type)[0], f"{key}.NAME")
        elif isinstance(bare, inspect.VarTupleType):
            yield from _rows(_unwrapped(bare.item_type)[0], f"{key}[]")
        else:
            yield from _rows(bare, key)


def _unwrapped(kind: inspect.Type) -> tuple[inspect.Type, str, str]:
    """The type without its annotations, its unit and its description."""
    unit = meaning = ""
    while isinstance(kind, inspect.Metadata | inspect.UnionType):
        if isinstance(kind, inspect.UnionType):
            kind = next(one for one in kind.types if not isinstance(one, inspect.NoneType))
            continue
        unit = unit or str((kind.extra or {}).get("unit", ""))
        meaning = meaning or str((kind.extra_json_schema or {}).get("description", ""))
        kind = kind.type
    return kind, unit, meaning


_UNITS = {"duration": "duration", "size": "size", "share": "share", "url": "URL", "address": "address"}
_TYPES: dict[type[inspect.Type], str] = {
    inspect.BoolType: "true, false",
    inspect.IntType: "whole number",
    inspect.DictType: "mapping by name",
    inspect.VarTupleType: "list",
}


def _expects(kind: inspect.Type, unit: str) -> str:
    if unit:
        return _UNITS[unit]
    if isinstance(kind, inspect.EnumType):
        return ", ".join(str(one.value) for one in kind.cls)
    if isinstance(kind, inspect.LiteralType):
        return ", ".join(str(one) for one in kind.values)
    return _TYPES.get(type(kind), "text")


def _default(field: inspect.Field, unit: str) -> str:
    value = field.default
    if field.required:
        return "required"
    if value in (None, "", ()) or value is msgspec.NODEFAULT:
        return ""
    if unit == "duration" and isinstance(value, float):
        return f"`{seconds_text(value)}`"
    if unit == "size" and isinstance(value, int):
        return f"`{size_text(value)}`"
    if unit == "share" and isinstance(value, float):
        return f"`{share_text(value)}`"
    return f"`{json.dumps(list(value) if isinstance(value, tuple) else value)}`"
