"""The tree as text again: a file that reads back as the same tree, and values as a person may see them.

Pure. The difference between the two is secrets: a file needs them whole, a screen never does.
"""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

import msgspec
import yaml
from msgspec import inspect

from penstock.config import Config
from penstock.shape import Plain
from penstock.units import seconds_text, share_text, size_text


def as_yaml(config: Config) -> str:
    """A penstock.yaml that loads as exactly this tree; what has its default is left out."""
    defaults = {field.name: field.default for field in msgspec.structs.fields(Config)}
    plain = _spelled(inspect.type_info(Config), msgspec.to_builtins(config))
    given = {
        key: value
        for key, value in (plain.items() if isinstance(plain, dict) else ())
        if getattr(config, key) != defaults[key]
    }
    return yaml.safe_dump(_pruned(given), sort_keys=False, allow_unicode=True, width=120)


def _pruned(value: Plain) -> Plain:
    """Without what is empty: a file is read by people as well."""
    if isinstance(value, dict):
        return {key: _pruned(one) for key, one in value.items() if one not in (None, [], {})}
    return [_pruned(one) for one in value] if isinstance(value, list) else value


def shown(config: Config) -> dict[str, Plain]:
    """The whole tree with durations and sizes spelled out, digests shortened and passwords left out."""
    plain = _spelled(inspect.type_info(Config), msgspec.to_builtins(config))
    if not isinstance(plain, dict):
        raise TypeError("a Config is a mapping; msgspec says otherwise")
    callers = plain["callers"]
    if isinstance(callers, dict):
        for entry in callers.values():
            if isinstance(entry, dict):
                entry["key_sha256"] = f"{str(entry['key_sha256'])[:8]}…"
    plain["state"] = without_password(config.state)
    return plain


def without_password(url: str) -> str:
    """A database URL that may be shown."""
    parts = urlsplit(url)
    if parts.password is None:
        return url
    return url.replace(f":{parts.password}@", ":…@", 1)


_SPELLED: dict[str, Callable[[float], str]] = {
    "duration": seconds_text,
    "size": lambda value: size_text(int(value)),
    "share": share_text,
}


def _spelled(kind: inspect.Type, value: object) -> Plain:
    """Numbers with a unit as people write them; everything else as it is."""
    unit = ""
    while isinstance(kind, inspect.Metadata | inspect.UnionType):
        if isinstance(kind, inspect.UnionType):
            kind = next(one for one in kind.types if not isinstance(one, inspect.NoneType))
        else:
            unit = unit or str((kind.extra or {}).get("unit", ""))
            kind = kind.type
    if isinstance(kind, inspect.StructType) and isinstance(value, dict):
        fields = {field.encode_name: field.type for field in kind.fields}
        return {name: _spelled(fields[name], one) for name, one in value.items() if one not in (None, "")}
    if isinstance(kind, inspect.DictType) and isinstance(value, dict):
        return {str(name): _spelled(kind.value_type, one) for name, one in value.items()}
    if isinstance(kind, inspect.VarTupleType) and isinstance(value, list | tuple):
        return [_spelled(kind.item_type, one) for one in value]
    if unit in _SPELLED and isinstance(value, int | float):
        return _SPELLED[unit](value)
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise TypeError(f"{value!r} has no place in a configuration")
