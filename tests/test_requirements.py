"""The locked requirement files: hash-pinned, free of addresses, and in step with pyproject.toml."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
LOCKED = sorted(
    path for path in (ROOT / "requirements").glob("*.txt") if path.with_suffix(".in").exists() or path.stem == "main"
)


def locked(path: Path) -> list[tuple[Requirement, int]]:
    """Each requirement of a lock file with the number of its hashes."""
    entries = re.split(r"\n(?=\S)", re.sub(r"(?m)^\s*#.*\n?", "", path.read_text()).strip())
    return [
        (Requirement(entry.split(" \\\n")[0].split("#")[0].strip()), entry.count("--hash=sha256:")) for entry in entries
    ]


@pytest.mark.parametrize("path", LOCKED, ids=lambda path: path.name)
def test_every_locked_requirement_is_exact_and_hashed(path: Path) -> None:
    for requirement, hashes in locked(path):
        assert re.fullmatch(r"==[^*,]+", str(requirement.specifier)), requirement
        assert hashes, requirement


@pytest.mark.parametrize("path", sorted((ROOT / "requirements").glob("*.*")), ids=lambda path: path.name)
def test_no_requirement_file_names_a_registry(path: Path) -> None:
    text = path.read_text()
    for word in ("://", "--index-url", "--extra-index-url", "--find-links", "--trusted-host", "file:"):
        assert word not in text


def test_main_lock_satisfies_the_ranges_of_pyproject() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pinned = {
        canonicalize_name(entry.name): str(entry.specifier)[2:] for entry, _ in locked(ROOT / "requirements/main.txt")
    }
    for line in project["dependencies"]:
        wanted = Requirement(line)
        assert wanted.specifier.contains(pinned[canonicalize_name(wanted.name)]), line


def test_locks_agree_with_each_other() -> None:
    seen: dict[tuple[str, str], str] = {}
    for path in LOCKED:
        for requirement, _ in locked(path):
            key = (canonicalize_name(requirement.name), str(requirement.marker))
            assert seen.setdefault(key, str(requirement.specifier)) == str(requirement.specifier), (
                path.name,
                requirement,
            )


# Imported inside engines' own environments only, where the engine brings them.
ENGINES_OWN = {"torch", "vllm"}


def imported(path: Path) -> Iterator[str]:
    """The top-level packages that a module imports, wherever in the module that stands."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]


EXTRAS = {
    "bench": "src/penstock/bench/",
    "langchain": "src/penstock/client/langchain/",
    "otel": "src/penstock/gateway/otel/",
    "postgres": "src/penstock/state/",
}
"""Where what an extra brings may be imported."""

CALLERS_OWN = {"src/penstock/client/model.py": {"pydantic-core"}}
"""Imported in a function that only such a package itself calls."""


def declared_for(path: Path) -> set[str]:
    """The distributions that a module may count on."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = list(project["dependencies"])
    for extra, place in EXTRAS.items():
        lines += project["optional-dependencies"][extra] if str(path.relative_to(ROOT)).startswith(place) else []
    return {canonicalize_name(Requirement(line).name) for line in lines} | CALLERS_OWN.get(
        str(path.relative_to(ROOT)), set()
    )


def test_source_imports_only_what_pyproject_declares() -> None:
    distributions = packages_distributions()
    undeclared = {
        f"{path.relative_to(ROOT)}: {package}"
        for path in (ROOT / "src/penstock").rglob("*.py")
        for package in set(imported(path)) - sys.stdlib_module_names - ENGINES_OWN - {"penstock"}
        if not {canonicalize_name(name) for name in distributions.get(package, [package])} & declared_for(path)
    }
    assert undeclared == set()


def test_every_extra_has_its_place() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(project["optional-dependencies"]) == set(EXTRAS)
