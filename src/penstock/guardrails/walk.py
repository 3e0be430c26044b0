"""Every text in a JSON document, changed in place of itself: what rules see of what no codec here knows."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TypeAlias

import msgspec

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
Object: TypeAlias = "dict[str, Json]"

DEPTH = 64
"""Levels that a document may have."""
decode = msgspec.json.Decoder(dict[str, object]).decode
encode = msgspec.json.Encoder().encode


def read(data: bytes) -> Object:
    """The object that a document is; `msgspec.DecodeError` for what is none."""
    return decode(data)  # type: ignore[return-value]  # JSON has no other values


def changed(value: Json, change: Callable[[str], str], skip: Collection[str] = (), depth: int = 0) -> Json:
    """The same with every text in it changed; the members named are left as they are."""
    if isinstance(value, str):
        return change(value)
    if depth > DEPTH:
        raise ValueError("it is nested too deeply")
    if isinstance(value, list):
        return [changed(one, change, skip, depth + 1) for one in value]
    if isinstance(value, dict):
        return {name: one if name in skip else changed(one, change, skip, depth + 1) for name, one in value.items()}
    return value


def without(value: Json, names: Collection[str], depth: int = 0) -> Json:
    """The same without the members named, wherever they stand, and without lists of numbers."""
    if depth > DEPTH:
        raise ValueError("it is nested too deeply")
    if isinstance(value, dict):
        return {name: without(one, names, depth + 1) for name, one in value.items() if name not in names}
    if isinstance(value, list):
        return [] if tokens(value) else [without(one, names, depth + 1) for one in value]
    return value


def size(value: Json) -> int:
    """Bytes of all text in it."""
    if isinstance(value, str):
        return len(value.encode("utf-8", "replace"))
    if isinstance(value, list):
        return sum(map(size, value))
    return sum(map(size, value.values())) if isinstance(value, dict) else 0


def members(value: Json) -> Object:
    """The object that stands there; an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def items(value: Json) -> list[Json]:
    """The list that stands there; an empty one for anything else."""
    return value if isinstance(value, list) else []


def text(value: Json) -> str:
    """The text that stands there; none for anything else."""
    return value if isinstance(value, str) else ""


def tokens(value: Json) -> bool:
    """Whether it is a list of numbers: ids of tokens, in which a text stands that no rule can read."""
    return isinstance(value, list) and bool(value) and all(type(one) is int for one in value)


def holds_tokens(value: Json) -> bool:
    """Whether such a list, or a list of such, stands there."""
    return tokens(value) or (isinstance(value, list) and any(map(tokens, value)))
