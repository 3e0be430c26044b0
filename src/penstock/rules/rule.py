"""What a rule is: a row of the acceptance table, in words for people, and a pure function that looks for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from penstock.rules.finding import Evidence, Finding
from penstock.rules.material import Material

Look = Callable[[Material], Iterable[Finding]]


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """One row."""

    row: str
    title: str
    """What is wrong, in a few words."""
    today: str
    """What holds instead."""
    reads: str
    """The files in which it looks."""
    look: Look
    claim: bool = False


def finding(row: str, wrong: str, mend: str, *evidence: Evidence, claim: bool = False) -> Finding:
    """A finding with each line of evidence once."""
    return Finding(rule=row, wrong=wrong, mend=mend, evidence=tuple(dict.fromkeys(evidence)), claim=claim)
