"""A report in words: the lines that both the text and the page show. Pure."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple

from penstock.agreement.pair import Pair
from penstock.agreement.report import Change, Rate, Report, Spread
from penstock.agreement.words import words

AROUND = 12
"""Words shown on either side of a first difference."""
LONGEST = 600
"""Characters of a prompt, an error or a call that an example shows."""


class Row(NamedTuple):
    """One line: what, on the one side, on the other, and what that means."""

    name: str
    first: str
    second: str
    meaning: str = ""


class Example(NamedTuple):
    """One pair as a person reads it."""

    id: str
    why: str
    prompt: str
    first: str
    second: str


def heading(report: Report) -> str:
    """What the report is of."""
    counted = f"{report.pairs:,} {'pair' if report.pairs == 1 else 'pairs'}"
    between = f", {_time(report.since)} to {_time(report.until)}" if report.until else ""
    left = f"; {report.unpaired:,} answers found no partner" if report.unpaired else ""
    return f"{report.alias}: {counted} of {report.first} and {report.second}{between}{left}"


def findings(report: Report) -> list[str]:
    """The sentences that stand above all figures."""
    changes = _changes(report)
    said = []
    for finding in ("worse", "better"):
        names = [name for name, change in changes.items() if change.finding == finding]
        if names:
            said.append(f"{report.second} is {finding} than {report.first} in: {', '.join(names)}.")
    if not report.compared:
        return [*said, "There is no pair in which both answered, so nothing is shown."]
    if not any(change.finding == "worse" for change in changes.values()):
        said.append(f"Nothing got worse that {report.pairs:,} pairs can show; a rarer change could still hide.")
    if report.facts_unknown:
        said.append(
            f"{report.facts_unknown:,} pairs have golden facts but no text to look for them in: `keep: text` keeps it."
        )
    return said


def agreement(report: Report) -> list[Row]:
    """How much is the same: a share, its interval, and of how many."""
    rows = [Row("agreed", *_shares(report.agreed), "pairs in which both answered")]
    rows += [Row(f"  {name}", *_shares(rate)) for name, rate in report.measures.items()]
    if report.shared is not None:
        rows.append(
            Row("words in common", _percent(report.shared.median), _range(report.shared, _percent), "of a text")
        )
    if report.first_difference is not None:
        spread = report.first_difference
        rows.append(
            Row(
                "first difference",
                f"word {spread.median + 1:.0f}",
                _range(spread, lambda value: f"{value + 1:.0f}"),
                f"of {spread.count:,} texts that differ",
            )
        )
    if report.length is not None:
        rows.append(
            Row(
                "length",
                f"{report.length.median:.2f}",
                _range(report.length, lambda value: f"{value:.2f}"),
                f"words of {report.second} for one of {report.first}",
            )
        )
    return rows


def sides(report: Report) -> list[Row]:
    """What each side did, beside the other."""
    rows = [
        Row(name, _both(change.first), _both(change.second), _meaning(change, report))
        for name, change in _changes(report).items()
        if change.first.of
    ]
    rows += [Row(f"finish {name}", f"{first:,}", f"{second:,}") for name, (first, second) in report.finishes.items()]
    for name, (first, second) in (("seconds", report.seconds), ("first token, s", report.first_token)):
        if first is not None and second is not None and (first.median or second.median):
            rows.append(Row(name, f"{first.median:.3f}", f"{second.median:.3f}", "medians"))
    return rows


def _changes(report: Report) -> dict[str, Change]:
    changes = {
        "errors": report.errors,
        "refusals": report.refusals,
        "invalid JSON": report.invalid,
        "cut at the limit": report.cut,
    }
    return changes | ({"missing facts": report.facts} if report.facts is not None else {})


def examples(report: Report) -> list[Example]:
    """The pairs that show most."""
    return [_example(pair, report) for pair in report.examples]


def _example(pair: Pair, report: Report) -> Example:
    verdict = pair.verdict
    why = {
        "first_failed": f"{report.first} failed",
        "second_failed": f"{report.second} failed",
        "both_failed": "both failed",
        "agreed": "agreed",
    }.get(verdict.outcome, f"{verdict.measure} differs")
    if verdict.outcome == "differed" and verdict.measure == "vectors":
        why += f", cosine {verdict.cosine or 0:.4f}"
    elif verdict.outcome == "differed" and verdict.measure == "text" and verdict.first_difference is not None:
        why += f" from word {verdict.first_difference + 1} on, {_percent(verdict.shared)} of the words in common"
    if verdict.refused[1] and not verdict.refused[0]:
        why += f"; {report.second} refuses"
    at = verdict.first_difference or 0
    prompt = _cut(pair.asked.prompt) or pair.asked.digest
    return Example(pair.id, why, prompt, _said(pair, at, second=False), _said(pair, at, second=True))


def _said(pair: Pair, at: int, *, second: bool) -> str:
    answer = pair.second if second else pair.first
    if answer.error:
        return _cut(f"error: {answer.error}")
    if answer.tools:
        return _cut("calls " + ", ".join(f"{call.name}({call.arguments})" for call in answer.tools))
    if answer.digest:
        return f"{pair.verdict.words[int(second)]} words, {answer.digest[:19]}…"
    return around(answer.text, at)


def around(text: str, at: int) -> str:
    """The words around a place, so that a difference far down in a long text is seen."""
    found = words(text)
    if len(found) <= 3 * AROUND:
        return _cut(" ".join(text.split()))
    start, end = max(0, at - AROUND), at + AROUND
    return ("… " if start else "") + _cut(" ".join(found[start:end])) + (" …" if end < len(found) else "")


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else text[:LONGEST] + "…"


def _meaning(change: Change, report: Report) -> str:
    if not change.only_first and not change.only_second:
        return "the same pairs" if change.first.count else ""
    counted = f"{report.first} alone {change.only_first:,}, {report.second} alone {change.only_second:,}"
    return f"{change.finding} ({counted}; by chance {_chance(change.chance)})"


def _chance(chance: float) -> str:
    return "below 0.1 %" if chance < 0.001 else f"{100 * chance:.1f} %"


def _shares(rate: Rate) -> tuple[str, str]:
    if rate.share is None:
        return "-", "of none"
    return _percent(rate.share), f"{_percent(rate.low)} to {_percent(rate.high)} of {rate.of:,}"


def _both(rate: Rate) -> str:
    if rate.share is None:
        return "-"
    return f"{_percent(rate.share)} ({_percent(rate.low)} to {_percent(rate.high)})"


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def _range(spread: Spread, spelled: Callable[[float], str]) -> str:
    return f"{spelled(spread.tenth)} to {spelled(spread.ninetieth)}"


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
