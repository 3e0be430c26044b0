"""The report as text for a terminal or a file. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from penstock.agreement import told
from penstock.agreement.report import Report
from penstock.agreement.told import Row


def as_text(report: Report) -> str:
    """The whole report, with a closing newline."""
    return "\n".join(_lines(report)) + "\n"


def _lines(report: Report) -> Iterator[str]:
    yield told.heading(report)
    yield ""
    yield from told.findings(report)
    yield ""
    yield from _columns(told.agreement(report))
    yield ""
    yield from _columns([Row("", report.first, report.second), *told.sides(report)])
    for number, example in enumerate(told.examples(report), 1):
        yield ""
        yield f"example {number}: {example.why}" + (f" ({example.id})" if example.id else "")
        width = max(len(report.first), len(report.second), len("asked"))
        for name, text in (("asked", example.prompt), (report.first, example.first), (report.second, example.second)):
            yield f"  {name.ljust(width)}  {_plain(text)}"


def _plain(text: str) -> str:
    """On one line, and without what a terminal would obey: a model may have written anything."""
    return "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in " ".join(text.split()))


def _columns(rows: Sequence[Row]) -> Iterator[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        cells = [row[column].ljust(widths[column]) for column in range(3)]
        yield "  ".join([*cells, row.meaning]).rstrip()
