"""The five lines of a comparison, and the tables around them."""

from __future__ import annotations

import msgspec
import pytest
from tests.bench_verbs.made import CONDITIONS, compared, comparison, load_test

from penstock.bench.text import comparison_text, load_text
from penstock.bench.words import headline, lines, rate, seconds


def told(a: list[float], b: list[float]) -> str:
    return lines(headline(compared(a, b), ("Ollama", "vLLM"), 0.95))


def test_the_five_lines_of_the_document() -> None:
    """S1.25: the form, with the values that the document has, had they been measured."""
    assert told([16.2] * 10, [1.8] * 10).splitlines() == [
        "Ollama Time:  16.2s",
        "vLLM Time:    1.8s",
        "Speedup:      9.0x faster",
        "Improvement:  88.9% reduction",
        "Interval:     9.0x to 9.0x (95 %)",
        "Status:       ✓ EXCELLENT - 5x+ speedup achieved",
    ]


@pytest.mark.parametrize(
    ("faster", "status"),
    [
        (5.0, "✓ EXCELLENT - 5x+ speedup achieved"),
        (4.9, "✓ GOOD - 2x+ speedup achieved"),
        (2.0, "✓ GOOD - 2x+ speedup achieved"),
        (1.9, "✓ FASTER - speedup achieved"),
        (0.5, "✗ SLOWER - at least 2.0x"),
    ],
)
def test_a_status_is_earned(faster: float, status: str) -> None:
    """S1.25, X10: the words follow from the measured value alone."""
    assert told([8 * faster] * 10, [8.0] * 10).splitlines()[-1] == f"Status:       {status}"


def test_a_status_needs_the_whole_interval() -> None:
    """X10: five times on average is not five times for sure."""
    shown = told([16.0, 1.0] * 10, [1.7, 1.5] * 10)
    assert "EXCELLENT" not in shown


def test_a_slower_side() -> None:
    """S1.25: no reduction is claimed."""
    shown = told([1.0] * 10, [4.0] * 10)
    assert "Speedup:      4.0x slower" in shown
    assert "Improvement:  none: 300.0% longer" in shown
    assert "Interval:     4.0x to 4.0x slower (95 %)" in shown


def test_no_difference_is_said_in_words() -> None:
    """X10: a speed-up whose interval includes 1 is not printed."""
    shown = told([1.0, 2.0, 3.0] * 5, [3.0, 2.0, 1.0] * 5).splitlines()
    assert shown[2].startswith("Speedup:      not shown: ")
    assert shown[3] == "Improvement:  not shown"
    assert shown[4].startswith("Status:       - NO DIFFERENCE SHOWN")


def test_the_whole_text() -> None:
    text = comparison_text(comparison(compared([16.2] * 10, [1.8] * 10)))
    assert "concurrency 1: 10 pairs of turns, 1 request in a turn" in text
    assert "whole answer, P95       16.2 s  1.80 s  9.0x (9.0x to 9.0x)" in text
    assert "Ollama  llama3.1:8b  http://a  Ollama API" in text
    assert "4 prompts of p.txt, each asked 5 times, so that caches helped" in text
    assert "PARTIAL" not in text


def test_a_partial_measurement_says_so_first() -> None:
    conditions = msgspec.structs.replace(CONDITIONS, partial="vLLM no longer answers: connection refused")
    text = comparison_text(comparison(compared([2.0] * 10, [1.0] * 10), conditions=conditions))
    assert text.startswith("PARTIAL: vLLM no longer answers: connection refused. ")


def test_a_load_test_shows_the_queue_and_the_cache_beside_the_tokens() -> None:
    """S0.3, S0.4: tokens a second as the queue grows, and how full the cache is."""
    text = load_text(load_test(10, 20))
    head, first, second = text.split("\n\n")[1].splitlines()
    assert head.split("  ")[0] == "load"
    assert first.split() == ["concurrency", "1", "108", "18", "1", "1", "10.0", "%", "0"]
    assert second.split() == ["concurrency", "2", "108", "36", "2", "2", "20.0", "%", "0"]
    assert "the highest seen at http://b/metrics." in text


def test_numbers_as_people_read_them() -> None:
    assert [seconds(value) for value in (16.24, 1.842, 0.1824, 0.01234, 0.0001234, None)] == [
        "16.2 s", "1.84 s", "182 ms", "12.3 ms", "0.123 ms", "-",
    ]  # fmt: skip
    assert [rate(value) for value in (3.75, 40.04, 1234.5, None)] == ["3.75", "40", "1234", "-"]
