"""docs/reference/rules.md is what the rules and checks say of themselves."""

from __future__ import annotations

import re
from pathlib import Path

from penstock.doctor.live import CHECKS
from penstock.rules.table import RULES

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reference" / "rules.md"
REQUIREMENTS = ROOT / "docs" / "reference" / "requirements.md"


def rows(heading: str) -> list[str]:
    """The table under a heading, without its head."""
    section = PAGE.read_text(encoding="utf-8").partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return [line for line in section.splitlines() if line.startswith("| ")][2:]


def test_the_table_of_rules() -> None:
    expected = [
        f"| {rule.row}{' (claim)' if rule.claim else ''} | {rule.title} | {rule.today} | {rule.reads} |"
        for rule in RULES
    ]
    assert rows("Files") == expected


def test_the_table_of_checks() -> None:
    assert rows("Servers") == [f"| `{check.name}` | {check.title} | {check.asks} | {check.rows} |" for check in CHECKS]


def test_every_row_behind_a_rule_or_a_check_is_one_of_the_acceptance_table() -> None:
    known = set(re.findall(r"^\| (S\d\.\d+|[XHW]\d+) \|", REQUIREMENTS.read_text(encoding="utf-8"), re.MULTILINE))
    named = {rule.row for rule in RULES} | {row for check in CHECKS for row in check.rows.split(", ") if row != "–"}
    assert named <= known
