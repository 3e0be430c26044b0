"""ARCHITECTURE.md is true: it names every module there is and none that is gone, and its import tree is the checked one."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
SOURCE = ROOT / "src" / "penstock"


def section(title: str) -> str:
    """The text under one heading."""
    return PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def modules_under(folder: str) -> set[str]:
    return {path.name for path in (SOURCE / folder).glob("*.py") if path.name not in {"__init__.py", "__main__.py"}}


@pytest.mark.parametrize(("title", "folder"), [("gateway", "gateway"), ("protocols", "protocols")])
def test_every_module_has_its_sentence(title: str, folder: str) -> None:
    named = re.findall(r"^\| `(\w+\.py)` \| .+\. \|$", section(f"`{title}`"), re.MULTILINE)
    assert sorted(named) == sorted(modules_under(folder))


def test_no_file_is_named_that_is_not_there() -> None:
    names = {name.rpartition("/")[2] for name in re.findall(r"`([\w/]+\.py)`", PAGE)}
    assert names - {path.name for path in SOURCE.rglob("*.py")} == set()


def test_a_request_lives_in_at_most_ten_steps() -> None:
    steps = re.findall(r"^(\d+)\. ", section("The life of a request"), re.MULTILINE)
    assert steps == [str(number) for number in range(1, len(steps) + 1)]
    assert 5 <= len(steps) <= 10


def test_every_package_stands_in_the_import_tree() -> None:
    tree = section("The import tree")
    layers = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"][
        0
    ]
    placed = set(re.findall(r"\w+", " ".join(layers["layers"])))
    existing = {path.stem for path in SOURCE.iterdir() if not path.name.startswith(("_", "."))} - {"py"}
    assert existing <= placed
    assert [name for name in sorted(existing) if not re.search(rf"\b{name}\b", tree)] == []
