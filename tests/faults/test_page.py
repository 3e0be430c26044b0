"""The reference page is what the catalogue and the scripts come to."""

from __future__ import annotations

from pathlib import Path

import msgspec

from penstock.faults.catalogue import ROWS, collect
from penstock.faults.page import page
from penstock.faults.script import Script

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "faults.md"


def test_the_page_is_what_there_is() -> None:
    made = page()
    assert PAGE.read_text(encoding="utf-8") == made, "run: python -m penstock.faults.page > docs/reference/faults.md"


def test_every_key_of_a_script_says_what_it_means() -> None:
    rows = [
        line.split("|") for line in page().partition("## Keys of a script")[2].splitlines() if line.startswith("| `")
    ]
    assert [row[1].strip(" `") for row in rows] == [field.name for field in msgspec.structs.fields(Script)]
    assert [row[1] for row in rows if not row[3].strip()] == []


def test_every_scenario_belongs_to_a_row_and_says_what_must_come_of_it() -> None:
    found = collect()
    assert len({one.id for one in found}) == len(found)
    assert {one.row for one in found} <= {row.number for row in ROWS}
    assert [one.id for one in found if not one.expected.endswith(".")] == []
