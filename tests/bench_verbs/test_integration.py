"""VLLM_INTEGRATION_REPORT.md holds what was measured and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest
from tests.bench_verbs.made import CONDITIONS, compared, comparison

from penstock.bench.integration import replaceable, report_text
from penstock.errors import ConfigError


def test_the_report_of_a_measurement() -> None:
    """S1.8, S1.30: the report and its table, from a measurement."""
    text = report_text(comparison(compared([16.2] * 10, [1.8] * 10)))
    assert "# From Ollama to vLLM: what was measured" in text
    assert "Speedup:      9.0x faster" in text
    assert "| whole answer, P95 | 16.2 s | 1.80 s | 9.0x (9.0x to 9.0x) |" in text
    assert "| engine time a request | 16.2 s | 1.8 s | |" in text
    assert "| vLLM | `org/M` at http://b, OpenAI API, vLLM 1.0 |" in text
    assert CONDITIONS.command in text


def test_no_speed_up_stands_in_it_that_was_not_shown() -> None:
    """X10: no constant, and no ratio whose interval includes 1."""
    text = report_text(comparison(compared([2.0, 1.0] * 5, [1.0, 2.0] * 5)))
    assert "faster" not in text
    assert not re.search(r"\| \d[\d.]*x \(", text)
    assert "NO DIFFERENCE SHOWN" in text


def test_a_partial_one_says_so() -> None:
    conditions = msgspec.structs.replace(CONDITIONS, partial="vLLM no longer answers")
    assert "**Partial:** vLLM no longer answers." in report_text(comparison(conditions=conditions))


def test_names_do_not_break_its_tables() -> None:
    text = report_text(comparison(compared([2.0] * 10, [1.0] * 10), name="a|b"))
    rows = [row for row in text.splitlines() if row.startswith("| Metric")]
    assert rows == [r"| Metric | Ollama | a\|b | Speed-up, 95 % interval |"]


def test_a_report_that_somebody_wrote_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "VLLM_INTEGRATION_REPORT.md"
    replaceable(file)
    file.write_text(report_text(comparison()), encoding="utf-8")
    replaceable(file)
    file.write_text("# vLLM Integration - Implementation Report\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="did not write"):
        replaceable(file)


def test_no_page_of_ours_promises_a_speed() -> None:
    """X10: a speed-up stands in a report of a measurement, or in no document at all."""
    root = Path(__file__).parents[2]
    pages = [*root.glob("*.md"), *(root / "docs").rglob("*.md"), *(root / "changes").glob("*.md")]
    ours = [page for page in pages if page.name not in {"requirements.md", "VLLM_INTEGRATION_REPORT.md"}]
    promise = re.compile(r"\b\d+(?:\.\d+)?(?:x|×| times) (?:faster|speed-?up)", re.IGNORECASE)
    found = {
        str(page.relative_to(root)): promise.findall(page.read_text(encoding="utf-8"))
        for page in ours
        if promise.search(page.read_text(encoding="utf-8"))
    }
    assert found == {}
