"""Kubernetes manifests: containers of workloads, and Services. Pure."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from penstock.rules.finding import Evidence
from penstock.rules.material import ClusterService, Material, Port, Service, Setting, Word
from penstock.rules.reading.compose import word_of
from penstock.rules.reading.yaml_tree import Mapping, Node, Scalar, items

WORKLOADS = {
    "Pod": ("spec",),
    "CronJob": ("spec", "jobTemplate", "spec", "template", "spec"),
}
TEMPLATE = ("spec", "template", "spec")
"""Where all other workloads keep their pod."""


def is_manifest(root: Node) -> bool:
    return isinstance(root, Mapping) and bool(root.text("apiVersion")) and bool(root.text("kind"))


def kubernetes(root: Node) -> Material:
    if not isinstance(root, Mapping):
        return Material()
    kind = root.text("kind")
    name = root.text("metadata", "name")
    if kind == "Service":
        at = _line(root.get("metadata", "name")) or root.at
        return Material(
            cluster=(
                ClusterService(
                    name=name,
                    type=root.text("spec", "type") or "ClusterIP",
                    namespace=root.text("metadata", "namespace"),
                    at=at,
                ),
            )
        )
    pod = root.get(*WORKLOADS.get(kind, TEMPLATE))
    if not isinstance(pod, Mapping):
        return Material()
    links = pod.text("enableServiceLinks").lower() not in {"false", "no", "off"}
    found = [one for key in ("initContainers", "containers") for one in items(pod.get(key))]
    place = Service(
        name=name,
        kind="kubernetes",
        at=root.at,
        namespace=root.text("metadata", "namespace"),
        links=links,
        open_at=(pod.keys["hostNetwork"],) if pod.text("hostNetwork").lower() == "true" else (),
    )
    return Material(services=tuple(_container(one, place) for one in found if isinstance(one, Mapping)))


def _container(node: Mapping, workload: Service) -> Service:
    return msgspec.structs.replace(
        workload,
        at=_line(node.get("name")) or node.at,
        image=node.text("image"),
        entrypoint=_words(node.get("command")),
        arguments=_words(node.get("args")),
        settings=tuple(_settings(node.get("env"))),
        ports=tuple(_ports(node.get("ports"))),
    )


def _words(node: Node | None) -> tuple[Word, ...]:
    return tuple(word_of(one, one.text) for one in items(node) if isinstance(one, Scalar))


def _settings(node: Node | None) -> Iterator[Setting]:
    for one in items(node):
        if isinstance(one, Mapping):
            at = _line(one.get("name")) or one.at
            yield Setting(name=one.text("name"), value=one.text("value"), at=at)


def _ports(node: Node | None) -> Iterator[Port]:
    """Ports that a container names; a Service publishes them, or the node itself."""
    for one in items(node):
        if isinstance(one, Mapping):
            host = one.text("hostPort")
            yield Port(container=one.text("containerPort"), host=host, published=bool(host), at=one.at)


def _line(node: Node | None) -> Evidence | None:
    return node.at if node is not None else None
