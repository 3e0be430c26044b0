"""What an examination came to, as plain data for `--json` and as lines for people. No printing here."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from penstock.doctor.files import Gathered
from penstock.doctor.result import Result
from penstock.rules.finding import Finding
from penstock.rules.table import RULES, examine


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Files under the rules, and URLs under the checks."""

    findings: tuple[Finding, ...]
    results: tuple[Result, ...]
    files: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def healthy(self) -> bool:
        return not self.findings

    def data(self) -> dict[str, object]:
        """The whole report in the shapes of JSON."""
        return {
            "healthy": self.healthy,
            "findings": [_finding(one) for one in self.findings],
            "checks": [_result(one) for one in self.results],
            "files": list(self.files),
            "rules": [rule.row for rule in RULES],
            "notes": list(self.notes),
        }

    def summary(self) -> str:
        """One sentence."""
        urls = len({result.url for result in self.results})
        looked = [_count(number, noun) for number, noun in ((len(self.files), "file"), (urls, "server")) if number]
        claims = sum(one.claim for one in self.findings)
        wrong = "nothing wrong" if self.healthy else f"{_count(len(self.findings), 'finding')}"
        return f"{wrong} in {' and '.join(looked) or 'no files'}" + (
            f", {_count(claims, 'claim')} of documents among them" if claims else ""
        )


def report(gathered: Gathered, results: Iterable[Result]) -> Report:
    """Rules are run here; live checks have been."""
    told = tuple(results)
    live = [finding for result in told for finding in result.findings]
    return Report(
        findings=(*examine(gathered.material), *live), results=told, files=gathered.read, notes=gathered.notes
    )


def _finding(one: Finding) -> dict[str, object]:
    shown = [{"file": line.file, "line": line.line, "text": line.shown} for line in one.evidence]
    return {"rule": one.rule, "claim": one.claim, "wrong": one.wrong, "evidence": shown, "mend": one.mend}


def _result(one: Result) -> dict[str, object]:
    return {"url": one.url, "check": one.check, "state": one.state, "tried": list(one.tried), "said": one.said}


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
