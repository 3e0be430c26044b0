"""The table of several gateways' faults tells passes, failures and what was not asked apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench import matrix


def row(number: int, state: str, *scenarios: str) -> dict[str, Any]:
    made = [
        {
            "row": number,
            "name": f"s{place}",
            "expected": "B answers.",
            "state": one,
            "reason": "at /usr/lib/x.py: <html>",
        }
        for place, one in enumerate(scenarios)
    ]
    return {"row": number, "title": f"fault {number}", "state": state, "scenarios": made}


def test_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matrix, "RESULTS", tmp_path)
    told = {"gateway": "x", "passed": 1, "failed": 1, "not_applicable": 1, "not_built": 1, "seconds": 3.0}
    rows = [
        row(1, "passed", "passed", "not applicable"),
        row(2, "failed", "failed", "passed"),
        row(3, "not applicable", "not applicable"),
        row(4, "not built"),
    ]
    matrix.save("penstock", "d", {**told, "rows": rows})
    matrix.save("vllm-router", "d", {**told, "rows": [row(number, "passed", "passed") for number in (1, 2, 3, 4)]})
    matrix.table("d")
    page = (tmp_path / "d-faults.md").read_text(encoding="utf-8")
    assert "| 1 | fault 1 | passed 1/1 | passed 1/1 |" in page
    assert "| 2 | fault 2 | **failed** 1/2 | passed 1/1 |" in page
    assert "| 3 | fault 3 | n/a | passed 1/1 |" in page
    assert "| 4 | fault 4 | – | passed 1/1 |" in page
    assert "* 2 `s0`: B answers. – at …: &lt;html>" in page
    assert "## What vllm-router did not do\n\nNothing failed." in page


def test_the_command_can_be_typed() -> None:
    assert matrix.command("penstock") == [".venv/bin/penstock", "faults", "--json"]
    assert matrix.command("litellm")[-1] == "--keep"
    with pytest.raises(SystemExit):
        matrix.main(["table", "nobody"])
