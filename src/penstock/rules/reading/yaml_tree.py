"""YAML of any project as nodes that know their lines. Anchors and merge keys are followed, unknown tags are taken as plain."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, TypeAlias

import msgspec
import yaml

from penstock.rules.finding import Evidence
from penstock.rules.reading.text import Text, Unreadable

MOST: Final = 50_000
"""Values of one file, counted after anchors are followed, so that a few lines cannot become a billion."""
DEEPEST: Final = 60


class Scalar(msgspec.Struct, frozen=True):
    """Text as written, whatever its type."""

    text: str
    at: Evidence
    block: tuple[int, int] | None = None
    """The lines of a block scalar, first and behind the last."""


class Items(msgspec.Struct, frozen=True):
    """A list."""

    nodes: tuple[Node, ...]
    at: Evidence


class Mapping(msgspec.Struct, frozen=True):
    """Keys in order."""

    nodes: dict[str, Node]
    keys: dict[str, Evidence]
    """The line of each key."""
    at: Evidence

    def get(self, *path: str) -> Node | None:
        """The node under these keys, one inside the other."""
        node: Node = self
        for key in path:
            found = node.nodes.get(key) if isinstance(node, Mapping) else None
            if found is None:
                return None
            node = found
        return node

    def text(self, *path: str) -> str:
        """The scalar there; empty where it is none."""
        node = self.get(*path)
        return node.text if isinstance(node, Scalar) else ""


Node: TypeAlias = Scalar | Items | Mapping


def documents(text: Text) -> list[Node]:
    """Every document of the file that is not empty."""
    try:
        loader = yaml.SafeLoader(text.text)
    except yaml.YAMLError as broken:
        raise Unreadable(f"{text.name}: not YAML: {broken}") from None
    try:
        reading = _Reading(text)
        found = []
        while loader.check_node():
            node = loader.get_node()
            found += [reading.node(node, 0)] if node else []
    except (yaml.YAMLError, RecursionError, ValueError) as broken:
        raise Unreadable(_reason(text, broken)) from None
    finally:
        loader.dispose()
    return found


def items(node: Node | None) -> tuple[Node, ...]:
    """The nodes of a list; nothing where it is none."""
    return node.nodes if isinstance(node, Items) else ()


def entries(node: Node | None) -> Iterator[tuple[str, Node, Evidence]]:
    """Key, value and the key's line of a mapping; nothing where it is none."""
    if isinstance(node, Mapping):
        for key, value in node.nodes.items():
            yield key, value, node.keys[key]


class _Reading:
    def __init__(self, text: Text) -> None:
        self.text = text
        self.count = 0

    def node(self, node: yaml.Node, depth: int) -> Node:
        self.count += 1
        if self.count > MOST or depth > DEEPEST:
            raise ValueError("it holds more values, or deeper ones, than a file of settings does")
        line = node.start_mark.line + self.text.first
        at = self.text.at(line)
        if isinstance(node, yaml.SequenceNode):
            return Items(tuple(self.node(child, depth + 1) for child in node.value), at)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, at, depth)
        block = (line + 1, node.end_mark.line + self.text.first) if getattr(node, "style", None) in {"|", ">"} else None
        return Scalar(str(node.value), at, block)

    def _mapping(self, node: yaml.MappingNode, at: Evidence, depth: int) -> Mapping:
        own: dict[str, Node] = {}
        keys: dict[str, Evidence] = {}
        merged: list[Mapping] = []
        for key, child in node.value:
            name = str(key.value) if isinstance(key, yaml.ScalarNode) else ""
            value = self.node(child, depth + 1)
            if name == "<<":
                merged += [one for one in (value, *items(value)) if isinstance(one, Mapping)]
            else:
                own[name] = value
                keys[name] = self.text.at(key.start_mark.line + self.text.first)
        for one in reversed(merged):
            own = one.nodes | own
            keys = one.keys | keys
        return Mapping(own, keys, at)


def _reason(text: Text, broken: Exception) -> str:
    mark = getattr(broken, "problem_mark", None)
    place = f"{text.name}:{mark.line + text.first}" if mark else text.name
    return f"{place}: not YAML: {getattr(broken, 'problem', None) or broken}"
