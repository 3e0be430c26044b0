"""docs/reference/requirements.md claims no more than the tests show."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TABLE = (ROOT / "docs" / "reference" / "requirements.md").read_text(encoding="utf-8")
ID = re.compile(r"\b(?:S[0-4]\.\d+|[XHW]\d+)\b")
ROWS = {
    match[1]: match[2].strip()
    for match in re.finditer(r"^\| (S[0-4]\.\d+|[XHW]\d+) \|.*\| ([^|]*) \|$", TABLE, re.MULTILINE)
}
DONE = {row: state for row, state in ROWS.items() if state.startswith("done")}
STATE = re.compile(r"done(?:, in the corrected form)?: `tests/|part [2-9](?:$|; begun: `tests/)|no requirement: ")


@cache
def rows_named_in(path: str) -> frozenset[str]:
    """Every row that a docstring of this file names."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    texts = [ast.get_docstring(node) or "" for node in ast.walk(tree) if isinstance(node, documented)]
    return frozenset(ID.findall("\n".join(texts)))


def test_every_row_is_there_with_its_state() -> None:
    counts = {"S0": 26, "S1": 42, "S2": 29, "S3": 30, "S4": 25, "X": 16, "H": 12, "W": 32}
    for prefix, count in counts.items():
        numbers = [f"{prefix}.{n}" if prefix[0] == "S" else f"{prefix}{n}" for n in range(1, count + 1)]
        assert [row for row in numbers if row not in ROWS] == []
    assert len(ROWS) == sum(counts.values())
    assert {row: state for row, state in ROWS.items() if not STATE.match(state)} == {}


@pytest.mark.parametrize("row", DONE)
def test_a_done_row_stands_in_the_docstrings_it_names(row: str) -> None:
    files = re.findall(r"`(tests/[^`]+\.py)`", DONE[row])
    assert files
    assert [path for path in files if row not in rows_named_in(path)] == []
