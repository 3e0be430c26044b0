"""The report as one HTML file that needs nothing else: no script, no asset of another place. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from penstock.agreement import told
from penstock.agreement.report import Report
from penstock.agreement.told import Row

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;color:#1b2733;background:#fff}
h1{font-size:1.4rem}h2{font-size:1.1rem;margin-top:2rem}
table{border-collapse:collapse;width:100%}td,th{padding:.3rem .6rem;border-bottom:1px solid #dde3e9;text-align:left}
td:nth-child(2),td:nth-child(3){font-variant-numeric:tabular-nums}
.worse{color:#a4161a;font-weight:600}.better{color:#1b7f4b;font-weight:600}
article{border:1px solid #dde3e9;border-radius:6px;padding:.5rem 1rem;margin:1rem 0}
dt{font-weight:600;margin-top:.4rem}dd{margin:0;white-space:pre-wrap;overflow-wrap:anywhere}
@media(prefers-color-scheme:dark){body{background:#12181f;color:#dbe4ec}td,th,article{border-color:#33404d}
.worse{color:#ff8a8d}.better{color:#6fdca4}}
"""


def as_page(report: Report) -> str:
    """The whole page."""
    return "\n".join(_parts(report)) + "\n"


def _parts(report: Report) -> Iterator[str]:
    title = escape(told.heading(report))
    yield "<!doctype html>"
    yield f'<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style></head><body>'
    yield f"<h1>{title}</h1>"
    for sentence in told.findings(report):
        kind = next((word for word in ("worse", "better") if f" is {word} than " in sentence), "")
        yield f'<p class="{kind}">{escape(sentence)}</p>' if kind else f"<p>{escape(sentence)}</p>"
    yield "<h2>What is the same</h2>"
    yield from _table(("", "", "95 % interval, or a tenth to nine tenths", ""), told.agreement(report))
    yield "<h2>Side by side</h2>"
    yield from _table(("", report.first, report.second, f"{report.second} beside {report.first}"), told.sides(report))
    examples = told.examples(report)
    if examples:
        yield "<h2>Examples</h2>"
    for example in examples:
        yield f"<article><h3>{escape(example.why)}</h3><p><code>{escape(example.id)}</code></p><dl>"
        for name, text in (("asked", example.prompt), (report.first, example.first), (report.second, example.second)):
            yield f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>"
        yield "</dl></article>"
    yield "</body></html>"


def _table(heads: Sequence[str], rows: Sequence[Row]) -> Iterator[str]:
    yield "<table><thead><tr>" + "".join(f"<th>{escape(head)}</th>" for head in heads) + "</tr></thead><tbody>"
    for row in rows:
        kind = row.meaning.partition(" ")[0] if row.meaning.startswith(("worse", "better")) else ""
        meaning = f'<td class="{kind}">{escape(row.meaning)}</td>' if kind else f"<td>{escape(row.meaning)}</td>"
        indent = ' style="padding-left:1.6rem"' if row.name.startswith(" ") else ""
        cells = f"<td{indent}>{escape(row.name.strip())}</td><td>{escape(row.first)}</td><td>{escape(row.second)}</td>"
        yield f"<tr>{cells}{meaning}</tr>"
    yield "</tbody></table>"
