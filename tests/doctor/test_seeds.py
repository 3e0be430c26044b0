"""The documents' own files, as written from them and as mended.

W1, W2, W3, W4, W5, W6, W7, W8, W9, W10, W11, W12, W13, W14, W30, W31, W32: each is found in the fixtures, and none is left in the mended ones.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.doctor.files import gather
from penstock.doctor.report import Report, report

FIXTURES = Path(__file__).parent / "fixtures"
ROWS = {
    "seed-0": {"W1", "W2", "W3", "W9", "W32"},
    "seed-1": {"W30", "W31", "W32"},
    "seed-2": {"W4", "W5", "W10", "W11", "W12", "W13"},
    "seed-3": {"W4", "W5", "W6", "W7", "W8", "W14", "W31", "W32"},
    "seed-4": {"W7", "W9"},
}


def examined(folder: Path) -> Report:
    return report(gather([folder]), [])


@pytest.mark.parametrize("seed", ROWS)
def test_what_is_wrong_in_a_document_is_found(seed: str) -> None:
    assert {finding.rule for finding in examined(FIXTURES / "wrong" / seed).findings} == ROWS[seed]


@pytest.mark.parametrize("seed", ROWS)
def test_nothing_is_found_once_it_is_mended(seed: str) -> None:
    done = examined(FIXTURES / "mended" / seed)
    assert done.files
    assert list(done.findings) == []
    assert list(done.notes) == []


def test_all_seventeen_rows_are_found() -> None:
    """W12 and W13 as claims, which is what they are."""
    found = examined(FIXTURES / "wrong").findings
    assert {finding.rule for finding in found} == {f"W{n}" for n in (*range(1, 15), 30, 31, 32)}
    assert {finding.rule for finding in found if finding.claim} == {"W12", "W13"}


def test_evidence_stands_in_the_files() -> None:
    """Every line that is shown is the line of that number, apart from its secrets."""
    for finding in examined(FIXTURES / "wrong").findings:
        for line in finding.evidence:
            assert (
                " ".join(Path(line.file).read_text(encoding="utf-8").splitlines()[line.line - 1].split()) == line.text
            )


def test_four_things_are_wrong_with_the_fallback_of_seed_1() -> None:
    """W30: no test of the connection, an unread health check, ignored settings, a linear backoff; and the retriever's argument."""
    found = [finding for finding in examined(FIXTURES / "wrong" / "seed-1").findings if finding.rule == "W30"]
    assert [
        word
        for finding in found
        for word in ("never falls back", "not read", "top_k", "linear", "original_query")
        if word in finding.wrong
    ] == [
        "never falls back",
        "not read",
        "top_k",
        "linear",
        "original_query",
    ]
