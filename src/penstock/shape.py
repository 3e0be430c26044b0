"""Plain data into a frozen struct, with every mistake found instead of the first.

msgspec.convert stops at the first mistake and knows neither lines nor near misses; a person with a file to correct
wants all of them. This walks the types of a struct beside the data and collects. It knows msgspec's types and our
units, and nothing of what the configuration means.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import msgspec
from msgspec import inspect

from penstock.address import base_url, parse_address
from penstock.units import seconds, share, size

Plain: TypeAlias = "str | int | float | bool | list[Plain] | dict[str, Plain] | None"
Path: TypeAlias = "tuple[str | int, ...]"

_SHOWN = 60
"""Characters of a wrong value that a message repeats."""


class Mistake(NamedTuple):
    """One thing that is wrong, and where."""

    path: Path
    text: str


class _Wrong(Exception):
    """A value that was reported already; only ever travels inside this file."""


def dotted(path: Path) -> str:
    """`aliases."llama3.1:8b".targets[0].model`: names that hold a dot or a colon stand in quotes."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            shown = part if part.isprintable() else repr(part)[1:-1]
            name = part if re.fullmatch(r"[\w-]+", part) else f'"{shown}"'
            text += f".{name}" if text else name
    return text


def nearest(name: str, known: list[str]) -> str:
    """A sentence that names the nearest of the known names, or all of them."""
    return _near_miss(name, known) or f"known here: {', '.join(known)}"


def _near_miss(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"did you mean '{close[0]}'?" if close else ""


def check(data: Plain, kind: type[msgspec.Struct]) -> tuple[Plain, list[Mistake]]:
    """The data with units turned into numbers, and all mistakes in it."""
    walk = _Walk()
    clean = walk.value(inspect.type_info(kind), data, ())
    return clean, walk.mistakes


class _Walk:
    """Collects mistakes on the way down."""

    def __init__(self) -> None:
        self.mistakes: list[Mistake] = []

    def value(self, kind: inspect.Type, data: Plain, path: Path) -> Plain:
        try:
            return self._value(kind, data, path)
        except _Wrong:
            return None

    def _value(self, kind: inspect.Type, data: Plain, path: Path) -> Plain:
        secret, expected = False, ""
        while isinstance(kind, inspect.Metadata | inspect.UnionType):
            if isinstance(kind, inspect.UnionType):
                if data is None:
                    return None
                kind = next(one for one in kind.types if not isinstance(one, inspect.NoneType))
                continue
            extra = kind.extra or {}
            if "unit" in extra:
                data = self._unit(extra["unit"], data, path)
            secret = secret or bool(extra.get("secret"))
            expected = expected or str(extra.get("expected", ""))
            kind = kind.type
        if data is None:
            raise self._wrong(path, "is empty; give it a value or leave the key out")
        match kind:
            case inspect.StructType():
                return self._struct(kind, data, path)
            case inspect.DictType():
                return self._table(kind, data, path)
            case inspect.VarTupleType():
                return self._list(kind, data, path)
            case _:
                return self._scalar(kind, data, path, expected=expected, secret=secret)

    def _struct(self, kind: inspect.StructType, data: Plain, path: Path) -> Plain:
        if not isinstance(data, dict):
            raise self._wrong(path, f"expects a mapping of keys to values, not {_told(data)}")
        fields = {field.encode_name: field for field in kind.fields}
        clean: dict[str, Plain] = {}
        for name, value in data.items():
            if name in fields:
                clean[name] = self.value(fields[name].type, value, (*path, name))
            else:
                self.mistakes.append(Mistake((*path, name), f"unknown key; {nearest(name, list(fields))}"))
        for name, field in fields.items():
            if field.required and name not in data:
                self.mistakes.append(Mistake(path, f"lacks the key '{name}'"))
        return clean

    def _table(self, kind: inspect.DictType, data: Plain, path: Path) -> Plain:
        if not isinstance(data, dict):
            raise self._wrong(path, f"expects a mapping of names to values, not {_told(data)}")
        self._length(len(data), kind.min_length, path)
        return {name: self.value(kind.value_type, value, (*path, name)) for name, value in data.items()}

    def _list(self, kind: inspect.VarTupleType, data: Plain, path: Path) -> Plain:
        if not isinstance(data, list):
            example = _example(kind.item_type, data)
            raise self._wrong(path, f"expects a list, for example [{example}], not {_told(data)}")
        self._length(len(data), kind.min_length, path)
        return [self.value(kind.item_type, value, (*path, index)) for index, value in enumerate(data)]

    def _length(self, length: int, least: int | None, path: Path) -> None:
        if least is not None and length < least:
            raise self._wrong(path, "is empty; it needs at least one entry")

    def _scalar(self, kind: inspect.Type, data: Plain, path: Path, *, expected: str, secret: bool) -> Plain:
        told = "what stands there" if secret else _told(data)
        if _fits(kind, data):
            return data
        if isinstance(kind, inspect.StrType) and isinstance(data, bool | int | float):
            raise self._wrong(path, f"expects text; put {told} in quotes")
        choices = _choices(kind)
        # All choices are in what is expected already; only a near miss says more.
        hint = _near_miss(data, choices) if isinstance(data, str) else ""
        raise self._wrong(path, f"expects {expected or _expected(kind)}, not {told}{hint and f'; {hint}'}")

    def _unit(self, unit: str, data: Plain, path: Path) -> Plain:
        if data is None:
            return None
        read: Callable[[Plain], Plain] = _UNITS[unit]
        try:
            return read(data)
        except ValueError as expected:
            raise self._wrong(path, f"expects {expected}, not {_told(data)}") from None

    def _wrong(self, path: Path, text: str) -> _Wrong:
        self.mistakes.append(Mistake(path, text))
        return _Wrong()


def _duration(data: Plain) -> Plain:
    if isinstance(data, bool) or not isinstance(data, int | float | str):
        raise ValueError("a duration such as 500ms, 2s, 10m or 1h")  # noqa: TRY004 - one kind of error for a wrong value
    return seconds(data)


def _size(data: Plain) -> Plain:
    if isinstance(data, bool) or not isinstance(data, int | str):
        raise ValueError("a size such as 512KiB, 32MiB or 1GiB")  # noqa: TRY004 - one kind of error for a wrong value
    return size(data)


def _share(data: Plain) -> Plain:
    if isinstance(data, bool) or not isinstance(data, int | float | str):
        raise ValueError("a share such as 10%, 0.5% or 0.1")  # noqa: TRY004 - one kind of error for a wrong value
    return share(data)


def _url(data: Plain) -> Plain:
    return base_url(data if isinstance(data, str) else "")


def _address(data: Plain) -> Plain:
    return str(parse_address(data if isinstance(data, str) else ""))


_UNITS: dict[str, Callable[[Plain], Plain]] = {
    "duration": _duration,
    "size": _size,
    "share": _share,
    "url": _url,
    "address": _address,
}


def _choices(kind: inspect.Type) -> list[str]:
    if isinstance(kind, inspect.EnumType):
        return [str(one.value) for one in kind.cls]
    if isinstance(kind, inspect.LiteralType):
        return [str(one) for one in kind.values]
    return []


def _fits(kind: inspect.Type, data: Plain) -> bool:
    match kind:
        case inspect.EnumType() | inspect.LiteralType():
            return data in _choices(kind)
        case inspect.BoolType():
            return isinstance(data, bool)
        case inspect.IntType() | inspect.FloatType():
            return _number_fits(kind, data)
        case inspect.StrType():
            return (
                isinstance(data, str)
                and len(data) >= (kind.min_length or 0)
                and (kind.pattern is None or re.search(kind.pattern, data) is not None)
            )
        case _:
            raise TypeError(f"shape cannot check {kind!r}; teach it this type before the configuration uses it")


def _number_fits(kind: inspect.IntType | inspect.FloatType, data: Plain) -> bool:
    whole = isinstance(kind, inspect.IntType)
    if isinstance(data, bool) or not isinstance(data, int if whole else int | float):
        return False
    return (kind.gt is None or data > kind.gt) and (kind.ge is None or data >= kind.ge)


def _expected(kind: inspect.Type) -> str:
    match kind:
        case inspect.EnumType() | inspect.LiteralType():
            return "one of " + ", ".join(_choices(kind))
        case inspect.BoolType():
            return "true or false"
        case inspect.IntType(ge=int() as least):
            return f"a whole number, at least {least}"
        case inspect.IntType() | inspect.FloatType():
            return "a number above 0"
        case _:
            return "text that is not empty"


def _told(data: Plain) -> str:
    """The value as an error message shows it: its kind where it is large, itself where it is short."""
    if isinstance(data, dict):
        return "a mapping"
    if isinstance(data, list):
        return "a list"
    if isinstance(data, bool):
        return "true" if data else "false"
    return repr(data if len(repr(data)) <= _SHOWN else f"{str(data)[:_SHOWN]}…")


def _example(item: inspect.Type, data: Plain) -> str:
    """An entry of the list that was perhaps meant: a bare port is an address of this machine."""
    unit = (item.extra or {}).get("unit") if isinstance(item, inspect.Metadata) else None
    if unit == "address" and isinstance(data, int) and not isinstance(data, bool):
        return f"127.0.0.1:{data}" if 0 <= data <= 65535 else "127.0.0.1:8000"
    return "…" if isinstance(data, dict | list) else str(data)[:_SHOWN]
