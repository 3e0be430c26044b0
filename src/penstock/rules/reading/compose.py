"""Compose files, and pieces of them as documents show them, as services. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from penstock.rules.finding import Evidence
from penstock.rules.material import Material, Port, Service, Setting, Word
from penstock.rules.reading.shell import words
from penstock.rules.reading.text import Text
from penstock.rules.reading.variables import expand
from penstock.rules.reading.yaml_tree import Items, Mapping, Node, Scalar, entries, items

TELLING = frozenset({"image", "build", "container_name", "depends_on", "environment", "ports", "command", "restart"})
"""Keys that only a service of a compose file has, one beside another."""
_PORT = re.compile(r"(?:(?:(?P<address>\[[^\]]*\]|[^:]*):)?(?P<host>[\d-]*):)?(?P<container>[\d-]+)(?:/\w+)?")


def services_of(root: Node) -> Node | None:
    """The mapping of services; of a piece without `services:`, the piece itself."""
    if not isinstance(root, Mapping):
        return None
    named = root.get("services")
    if isinstance(named, Mapping) and any(_is_service(one) for _, one, _ in entries(named)):
        return named
    pieces = [node for _, node, _ in entries(root)]
    return root if pieces and all(_is_service(node) for node in pieces) else None


def _is_service(node: Node) -> bool:
    if not isinstance(node, Mapping):
        return False
    keys = TELLING & node.nodes.keys()
    return bool({"image", "build"} & keys) or keys == {"environment"} or len(keys) > 1


def compose(text: Text, services: Node) -> Material:
    return Material(services=tuple(_service(text, name, node, at) for name, node, at in entries(services)))


def _service(text: Text, name: str, node: Node, at: Evidence) -> Service:
    service = node if isinstance(node, Mapping) else Mapping({}, {}, at)
    return Service(
        name=name,
        kind="compose",
        at=at,
        image=service.text("image"),
        dockerfile=_dockerfile(service),
        entrypoint=_command(text, service.get("entrypoint")),
        arguments=_command(text, service.get("command")),
        settings=tuple(settings(service.get("environment"))),
        env_files=tuple(_paths(service.get("env_file"))),
        ports=tuple(_ports(service.get("ports"))),
        open_at=(service.keys["network_mode"],) if service.text("network_mode") == "host" else (),
    )


def _dockerfile(service: Mapping) -> str:
    build = service.get("build")
    if build is None:
        return ""
    return service.text("build", "dockerfile") or "Dockerfile"


def _command(text: Text, node: Node | None) -> tuple[Word, ...]:
    if isinstance(node, Scalar):
        first, end = node.block or (node.at.line, 0)
        lines = "\n".join(text.lines[first - text.first : end - text.first]) if node.block else node.text
        return words(Text(text.name, lines.replace("$$", "$"), first, whole=text))
    return tuple(word_of(one, one.text.replace("$$", "$")) for one in items(node) if isinstance(one, Scalar))


def word_of(node: Scalar, text: str) -> Word:
    """A scalar as one word of a command."""
    return Word(text=text, at=node.at, first=node.block[0] if node.block else 0)


def settings(node: Node | None) -> Iterator[Setting]:
    """Both spellings: a mapping, and a list of `NAME=value`."""
    for name, value, at in entries(node):
        yield Setting(name=name, value=value.text if isinstance(value, Scalar) else "", at=at)
    for one in items(node):
        if isinstance(one, Scalar):
            name, equals, given = one.text.partition("=")
            yield Setting(name=name, value=given if equals else f"${{{name}}}", at=one.at)


def _paths(node: Node | None) -> Iterator[str]:
    for one in (node,) if isinstance(node, Scalar) else items(node):
        if isinstance(one, Scalar):
            yield one.text
        elif isinstance(one, Mapping):
            yield one.text("path")


def _ports(node: Node | None) -> Iterator[Port]:
    for one in items(node) if isinstance(node, Items) else ():
        if isinstance(one, Scalar) and (found := port(one.text, one.at)):
            yield found
        elif isinstance(one, Mapping):
            published = one.text("published")
            yield Port(container=one.text("target"), host=published, address=one.text("host_ip"), at=one.at)


def port(text: str, at: Evidence) -> Port | None:
    """`8001:8000`, `127.0.0.1:8001:8000`, `8000`, `${PORT:-8001}:8000`; a name without a default keeps it from being read."""
    found = _PORT.fullmatch(expand(text.strip(), {}).text)
    if not found:
        return None
    address = (found["address"] or "").strip("[]")
    return Port(container=found["container"], host=found["host"] or "", address=address, at=at)
