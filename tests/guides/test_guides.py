"""The four guides that the documents promise are true: what they tell the reader to do is done here, block by block."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.guides.page import GUIDES, NOT_RUN, ROOT, blocks_of, standins, text_of
from tests.guides.reader import Reader

from penstock.doctor.files import gather
from penstock.doctor.report import report

SETUP = "VLLM_SETUP_GUIDE.md"
SPEED = re.compile(
    r"\d\s?[x×]\b|\b\d[\d.]*\s?(?:%|percent)\s+(?:faster|reduction|savings|less)|q(?:ueries)?/min|queries/minute|times faster",
    re.IGNORECASE,
)


@pytest.mark.parametrize("page", GUIDES)
def test_a_guide_does_what_it_says_from_an_empty_folder(page: str, tmp_path: Path) -> None:
    """S1.8, S3.28: every command, in order, as it stands; what is shown as printed is printed."""
    (tmp_path / "empty").mkdir()
    with Reader(tmp_path / "empty") as reader:
        for block in [] if page == SETUP else standins():
            reader.follow(block)
        for block in blocks_of(page):
            reader.follow(block)


@pytest.mark.parametrize("page", GUIDES)
def test_what_is_not_run_says_so_and_the_doctor_finds_nothing_in_it(page: str, tmp_path: Path) -> None:
    """S1.29, S1.39: images, options, volumes, ports and health checks of what needs a GPU, vLLM or Docker."""
    blocks = [block for block in blocks_of(page) if block.fate == "gpu"]
    assert [block.place for block in blocks if NOT_RUN not in block.before] == []
    for block in blocks:
        (tmp_path / block.name).write_text(block.text, encoding="utf-8")
    done = report(gather([tmp_path]), [])
    assert len(done.files) == len(blocks)
    assert [f"{finding.rule} {finding.evidence[0].place}: {finding.wrong}" for finding in done.findings] == []
    assert list(done.notes) == []


@pytest.mark.parametrize("page", GUIDES)
def test_what_another_test_runs_is_there(page: str) -> None:
    assert [block.place for block in blocks_of(page) if block.by and not (ROOT / block.by).is_file()] == []


@pytest.mark.parametrize("page", GUIDES)
def test_no_guide_promises_a_speed(page: str) -> None:
    """X10, S1.30, S3.18: no constant in any document; what holds is measured by the reader."""
    assert SPEED.findall(text_of(page)) == []
