"""What a set of files comes to: the nouns that rules look at. Frozen values, no reading and no judging here."""

from __future__ import annotations

import ast
from collections.abc import Iterable

import msgspec

from penstock.rules.finding import Evidence
from penstock.rules.reading.text import Text


class Noun(msgspec.Struct, frozen=True, kw_only=True):
    """What they have in common: frozen, named fields."""


class Word(Noun, frozen=True, kw_only=True):
    """One word of a command, as written, without its quotes."""

    text: str
    at: Evidence
    first: int = 0
    """The line of its first character, where it has several lines."""


class Setting(Noun, frozen=True, kw_only=True):
    """A name in some environment and its value as written."""

    name: str
    value: str
    at: Evidence


class Command(Noun, frozen=True, kw_only=True):
    """One simple command of a shell."""

    words: tuple[Word, ...]
    settings: tuple[Setting, ...] = ()
    """Set for this command alone, in front of it."""
    known: tuple[Setting, ...] = ()
    """Assigned earlier in the same script."""
    redirected: tuple[Word, ...] = ()
    """Files that it is sent to or read from."""
    at: Evidence


class Port(Noun, frozen=True, kw_only=True):
    """A port of a container and where the host publishes it."""

    container: str
    host: str = ""
    address: str = ""
    """The host address it is published on; empty: all of them."""
    published: bool = True
    at: Evidence


class Service(Noun, frozen=True, kw_only=True):
    """A container as compose, Kubernetes or `docker run` starts it."""

    name: str
    kind: str
    at: Evidence
    image: str = ""
    dockerfile: str = ""
    entrypoint: tuple[Word, ...] = ()
    arguments: tuple[Word, ...] = ()
    settings: tuple[Setting, ...] = ()
    env_files: tuple[str, ...] = ()
    ports: tuple[Port, ...] = ()
    open_at: tuple[Evidence, ...] = ()
    """Lines that put it on the host's own network, where every port is published."""
    namespace: str = ""
    links: bool = False
    """Kubernetes tells this container about every Service by environment names."""


class Recipe(Noun, frozen=True, kw_only=True):
    """A Dockerfile."""

    name: str
    base: Evidence | None = None
    image: str = ""
    settings: tuple[Setting, ...] = ()
    exposed: tuple[Word, ...] = ()
    entrypoint: tuple[Word, ...] = ()
    arguments: tuple[Word, ...] = ()
    runs: tuple[Command, ...] = ()
    at: Evidence


class Script(Noun, frozen=True, kw_only=True):
    """A shell script, or a block of shell in a document."""

    name: str
    commands: tuple[Command, ...] = ()
    settings: tuple[Setting, ...] = ()
    lines: tuple[Evidence, ...] = ()
    """Every line that is not empty, comments included."""


class EnvFile(Noun, frozen=True, kw_only=True):
    """`NAME=value` lines."""

    name: str
    settings: tuple[Setting, ...] = ()


class ClusterService(Noun, frozen=True, kw_only=True):
    """A Kubernetes Service: a name in the cluster's DNS and, unless told otherwise, in every container's environment."""

    name: str
    type: str
    namespace: str = ""
    at: Evidence


class Value(Noun, frozen=True, kw_only=True):
    """A scalar of a YAML file that is neither compose nor Kubernetes: Helm values, Ansible variables."""

    path: str
    """Keys and indices joined by dots."""
    text: str
    at: Evidence


class FlagList(Noun, frozen=True, kw_only=True):
    """A list of `--options` in such a file, and the comments that stand by."""

    path: str
    words: tuple[Word, ...]


class Scrape(Noun, frozen=True, kw_only=True):
    """An address that something fetches a page from: a Prometheus target, or a URL given to curl."""

    host: str
    port: str
    path: str
    at: Evidence


class Module(Noun, frozen=True, kw_only=True):
    """Python code, walked once."""

    source: Text
    tree: ast.Module
    names: dict[str, str]
    """Local name -> what was imported as it: `{"OpenAI": "openai.OpenAI"}`."""
    calls: tuple[ast.Call, ...]
    functions: tuple[ast.FunctionDef | ast.AsyncFunctionDef, ...]
    classes: tuple[ast.ClassDef, ...]

    def at(self, node: ast.AST) -> Evidence:
        """The line on which a node begins."""
        return self.source.at(self.source.first - 1 + int(getattr(node, "lineno", 1)))


class Document(Noun, frozen=True, kw_only=True):
    """Prose, line by line, without its blocks of code."""

    name: str
    lines: tuple[Evidence, ...] = ()


class Requirement(Noun, frozen=True, kw_only=True):
    """One line of a requirements file."""

    text: str
    at: Evidence


class Material(Noun, frozen=True, kw_only=True):
    """Everything that was read, files side by side."""

    services: tuple[Service, ...] = ()
    recipes: tuple[Recipe, ...] = ()
    scripts: tuple[Script, ...] = ()
    env_files: tuple[EnvFile, ...] = ()
    cluster: tuple[ClusterService, ...] = ()
    values: tuple[Value, ...] = ()
    flag_lists: tuple[FlagList, ...] = ()
    scrapes: tuple[Scrape, ...] = ()
    modules: tuple[Module, ...] = ()
    documents: tuple[Document, ...] = ()
    requirements: tuple[Requirement, ...] = ()
    comments: tuple[Evidence, ...] = ()
    """Comments of YAML files and scripts: what their authors meant."""


def joined(materials: Iterable[Material]) -> Material:
    """All of them as one, in order."""
    parts = list(materials)
    return Material(
        **{name: tuple(one for part in parts for one in getattr(part, name)) for name in Material.__struct_fields__}
    )
