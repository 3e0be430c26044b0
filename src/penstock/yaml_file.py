"""One YAML file as plain data, with the line of every value.

Stricter than YAML: a key that stands twice is an error, and so is anything that no configuration needs (tags, keys that
are not text, nesting without end). What the keys mean is not known here.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import yaml

from penstock.errors import ConfigError
from penstock.shape import Path as Where
from penstock.shape import Plain, dotted

LARGEST = 2**20
"""Bytes of a file that we read: a configuration is a few kilobytes."""
MOST_VALUES = 100_000
"""Values in one file, counted after anchors are followed, so that a few lines cannot become a billion."""
DEEPEST = 20


class Placed(NamedTuple):
    """A mapping from a file, and `penstock.yaml:12` for every path in it."""

    data: dict[str, Plain]
    origin: dict[Where, str]


def read_yaml(path: Path) -> Placed:
    """The file's mapping. ConfigError where it cannot be read or is not one."""
    try:
        with path.open("rb") as file:
            raw = file.read(LARGEST + 1)
    except OSError as broken:
        raise ConfigError(
            f"The configuration {path} cannot be read: {broken.strerror}.", hint="Check the path and its permissions."
        ) from None
    if len(raw) > LARGEST:
        raise ConfigError(f"The configuration {path} is larger than {LARGEST} bytes.", hint="Is this the right file?")
    return parse_yaml(raw, str(path))


def parse_yaml(raw: bytes, name: str) -> Placed:
    """The same for bytes already read; `name` is what messages call them."""
    try:
        loader = yaml.SafeLoader(raw)
    except yaml.YAMLError as broken:
        raise _unreadable(name, broken) from None
    try:
        root = loader.get_single_node()
        reading = _Reading(loader, name)
        data = reading.value(root, ()) if root else {}
    except (yaml.YAMLError, RecursionError) as broken:
        raise _unreadable(name, broken) from None
    finally:
        loader.dispose()
    if not isinstance(data, dict):
        raise ConfigError(
            f"{name} is not a mapping of keys to values.", hint="It should begin with a key, such as listen:"
        )
    return Placed(data, reading.origin)


class _Reading:
    """Follows the nodes of one document."""

    def __init__(self, loader: yaml.SafeLoader, name: str) -> None:
        self.loader = loader
        self.name = name
        self.origin: dict[Where, str] = {}
        self.count = 0

    def value(self, node: yaml.Node, path: Where) -> Plain:
        self.count += 1
        if self.count > MOST_VALUES or len(path) > DEEPEST:
            raise self._refused(node, "holds more values, or deeper ones, than a configuration can have", path)
        self.origin.setdefault(path, self._place(node))
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(child, (*path, index)) for index, child in enumerate(node.value)]
        return self._scalar(node, path)

    def _mapping(self, node: yaml.MappingNode, path: Where) -> Plain:
        data: dict[str, Plain] = {}
        for key_node, child in node.value:
            key = self._scalar(key_node, path) if isinstance(key_node, yaml.ScalarNode) else None
            if not isinstance(key, str):
                raise self._refused(key_node, f"{_text(key_node)} is not text as a key; put it in quotes", path)
            if key in data:
                first = self.origin[(*path, key)]
                raise self._refused(key_node, f"the key '{key}' stands twice, first at {first}", path)
            self.origin[(*path, key)] = self._place(key_node)
            data[key] = self.value(child, (*path, key))
        return data

    def _scalar(self, node: yaml.Node, path: Where) -> Plain:
        try:
            value = self.loader.construct_object(node, deep=True)
        except ValueError as broken:  # PyYAML lets int() and date() of a strange scalar speak for themselves
            raise self._refused(node, f"{_text(node)} cannot be read: {broken}", path) from None
        if value is None or isinstance(value, str | bool | int | float):
            return value
        return _text(node)  # a date or the like, which YAML reads into plain text and no key of ours wants

    def _place(self, node: yaml.Node) -> str:
        return f"{self.name}:{node.start_mark.line + 1}"

    def _refused(self, node: yaml.Node, text: str, path: Where) -> ConfigError:
        inside = f" (in {dotted(path)})" if path else ""
        return ConfigError(f"{self._place(node)}: {text}{inside}.", hint="Correct the file and try again.")


def _text(node: yaml.Node) -> str:
    return str(node.value)[:60] if isinstance(node, yaml.ScalarNode) else "a list or mapping"


def _unreadable(name: str, broken: Exception) -> ConfigError:
    mark = getattr(broken, "problem_mark", None)
    place = f"{name}:{mark.line + 1}" if mark else name
    problem = getattr(broken, "problem", None) or getattr(broken, "reason", None) or "it is nested too deeply"
    return ConfigError(
        f"{place}: this is not YAML: {problem}.", hint="Mind the indentation, and quote text with a colon."
    )
