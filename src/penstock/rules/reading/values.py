"""YAML that is neither compose nor Kubernetes: Helm values, Ansible variables, Prometheus configurations. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from penstock.rules.finding import Evidence
from penstock.rules.material import FlagList, Material, Scrape, Value, Word
from penstock.rules.reading.yaml_tree import Items, Mapping, Node, Scalar, entries, items


def values(root: Node) -> Material:
    if isinstance(root, Mapping) and isinstance(root.get("scrape_configs"), Items):
        return Material(scrapes=tuple(_scrapes(root)))
    return Material(values=tuple(_leaves(root, "")), flag_lists=tuple(_flag_lists(root, "")))


def _leaves(node: Node, path: str) -> Iterator[Value]:
    for key, value, at in entries(node):
        where = f"{path}.{key}" if path else key
        if isinstance(value, Scalar):
            yield Value(path=where, text=value.text, at=at)
        else:
            yield from _leaves(value, where)
    for index, value in enumerate(items(node)):
        where = f"{path}.{index}" if path else str(index)
        if isinstance(value, Scalar):
            yield Value(path=where, text=value.text, at=value.at)
        else:
            yield from _leaves(value, where)


def _flag_lists(node: Node, path: str) -> Iterator[FlagList]:
    words = tuple(Word(text=one.text, at=one.at) for one in items(node) if isinstance(one, Scalar))
    if any(word.text.startswith("--") for word in words):
        yield FlagList(path=path, words=words)
    for key, value, _ in entries(node):
        yield from _flag_lists(value, f"{path}.{key}" if path else key)
    for index, value in enumerate(items(node)):
        yield from _flag_lists(value, f"{path}.{index}" if path else str(index))


def _scrapes(root: Mapping) -> Iterator[Scrape]:
    for job in items(root.get("scrape_configs")):
        if not isinstance(job, Mapping):
            continue
        path = job.text("metrics_path") or "/metrics"
        for group in items(job.get("static_configs")):
            targets = group.get("targets") if isinstance(group, Mapping) else None
            yield from (_scrape(one.text, path, one.at) for one in items(targets) if isinstance(one, Scalar))


def _scrape(target: str, path: str, at: Evidence) -> Scrape:
    host, _, port = target.rpartition(":")
    return Scrape(host=host or target, port=port if host else "80", path=path, at=at)
