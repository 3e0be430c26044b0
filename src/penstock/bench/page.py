"""One page of HTML with everything in it: figures, plots, conditions. It loads nothing, and says so in its policy.

What comes from outside (names, URLs, words of engines) is escaped here, at the one border to HTML.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import Final

from penstock.bench import plots
from penstock.bench.results import Compared, Comparison, Conditions, Loaded, LoadTest, Row
from penstock.bench.words import NONE, ROWS, errors, headline, rate, share, spoken

drawable = plots.drawing

_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
_STYLE: Final = """
:root { color-scheme: light; font: 15px/1.5 system-ui, sans-serif; color: #1f2937; background: #f9fafb }
body { max-width: 76rem; margin: 0 auto; padding: 2rem 1.5rem 4rem }
h1 { font-size: 1.6rem; margin: 0 0 .25rem } h2 { font-size: 1.2rem; margin: 2.5rem 0 .75rem } .wide { margin: 1rem 0; overflow-x: auto }
.sub { color: #6b7280; margin: 0 } code, .mono { font-family: ui-monospace, monospace; font-size: .9em; overflow-wrap: anywhere }
.partial { background: #fef3c7; border-left: 4px solid #d97706; padding: .75rem 1rem; margin: 1.5rem 0 }
.cards { display: flex; flex-wrap: wrap; gap: .75rem; margin: 1rem 0 }
.card { background: #fff; border: 1px solid #e5e7eb; border-radius: .5rem; padding: .75rem 1rem; min-width: 7rem }
.card dt { color: #6b7280; font-size: .85rem } .card dd { margin: 0; font-size: 1.05rem; font-weight: 600 }
table { border-collapse: collapse; width: 100%; background: #fff; border: 1px solid #e5e7eb; border-radius: .5rem }
th, td { padding: .35rem .75rem; text-align: right; border-top: 1px solid #f3f4f6 } thead th { border: 0; color: #6b7280; font-weight: 600 }
th:first-child, td:first-child { text-align: left; font-weight: 400 }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(22rem, 1fr)); gap: 1rem; margin: 1rem 0 }
.overview { grid-template-columns: repeat(auto-fit, minmax(28rem, 1fr)) }
figure { margin: 0; background: #fff; border: 1px solid #e5e7eb; border-radius: .5rem; padding: .5rem } figure svg { width: 100%; height: auto }
ul { padding-left: 1.2rem } #tip { position: fixed; pointer-events: none; background: #111827; color: #fff; padding: .2rem .5rem; border-radius: .3rem; font-size: .85rem; white-space: pre; display: none }
"""
_SCRIPT: Final = """
const tip = document.getElementById('tip');
document.addEventListener('mousemove', event => {
  const mark = event.target.closest?.('.dots, .bar, .hist');
  const told = mark ? ['x_label', 'value'].map(kind => mark.querySelector('desc.' + kind)?.textContent).filter(Boolean) : [];
  tip.style.display = told.length ? 'block' : 'none';
  tip.textContent = told.join('\\n');
  tip.style.left = Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8) + 'px';
  tip.style.top = event.clientY + 14 + 'px';
});
"""


def comparison_page(found: Comparison) -> str:
    """A comparison: speed-ups with their intervals, both sides' figures, how times are distributed."""
    names = (found.a.name, found.b.name)
    levels = _levels(found.levels)
    parts = [
        f"<h1>{escape(names[0])} and {escape(names[1])}</h1>",
        *_conditions(found.conditions),
        _table(
            ["", "model", "where", "speaks", "says it is"],
            [[one.name, one.model, one.url, spoken(one.wire), one.engine or NONE] for one in (found.a, found.b)],
        ),
        '<div class="plots overview">',
        _figure(
            plots.bars(
                f"Speed-up of {names[1]}, whole answers",
                levels,
                [_interval(level) for level in found.levels],
                "times",
            )
        ),
        *(
            _figure(
                plots.steps(
                    title,
                    levels,
                    {name: [value(level)[at] for level in found.levels] for at, name in enumerate(names)},
                    unit,
                )
            )
            for title, value, unit in (
                ("Output tokens a second", _tokens, "tokens/s"),
                ("Requests a minute", _requests, "requests/min"),
                ("Whole answer, P95", _p95, "seconds"),
            )
        ),
        "</div>",
    ]
    for number, level in enumerate(found.levels):
        parts += _level(level, names, [row for row in found.rows if row.level == number], found.conditions.confidence)
    return _page(f"{names[0]} and {names[1]}", parts)


def load_page(found: LoadTest) -> str:
    """A load test: what was carried at each level, what it took, and what the engine's queue and cache did."""
    levels = _levels(found.levels)
    parts = [
        f"<h1>{escape(found.endpoint.name)} under load</h1>",
        *_conditions(found.conditions),
        _table(
            ["load", "requests/min", "output tokens/s", "running", "waiting", "KV cache", "errors"],
            [_carried(level) for level in found.levels],
        ),
        '<p class="sub">Running, waiting and KV cache: the highest seen'
        + (f" at {escape(found.metrics)}.</p>" if found.metrics else "; this engine tells nothing of them.</p>"),
        '<div class="plots overview">',
        _figure(
            plots.steps(
                "Output tokens a second",
                levels,
                {"tokens/s": [one.summary.tokens_per_second for one in found.levels]},
                "tokens/s",
            )
        ),
        *(
            _figure(plots.steps(title, levels, _percentiles(found.levels, which), "seconds"))
            for title, which in (
                ("First token", "first_token"),
                ("Between tokens", "between_tokens"),
                ("Whole answer", "total"),
            )
        ),
        "</div>",
    ]
    for number, level in enumerate(found.levels):
        parts += _watched(level, [row for row in found.rows if row.level == number])
    return _page(f"{found.endpoint.name} under load", parts)


def _page(title: str, parts: Sequence[str]) -> str:
    body = "\n".join(parts)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n{body}\n"
        f'<div id="tip"></div>\n<script>{_SCRIPT}</script>\n</body>\n</html>\n'
    )


def _conditions(told: Conditions) -> Iterator[str]:
    machine = told.machine
    memory = f", {machine.memory / 2**30:.0f} GiB" if machine.memory else ""
    yield (
        f'<p class="sub">{escape(told.began)}, {told.took:.0f} s. {escape(told.asked)}; '
        f"at most {told.wish.max_tokens} tokens an answer, seed {told.seed}. Measured from {escape(machine.processor)}, "
        f"{machine.cores} cores{memory}, {escape(machine.system)}, Penstock {escape(machine.penstock)}.</p>"
        f'<p class="sub"><code>{escape(told.command)}</code></p>'
    )
    if told.partial:
        yield (
            f'<p class="partial" id="partial"><strong>Partial:</strong> {escape(told.partial)}. '
            "What follows is what was measured until then.</p>"
        )


def _level(one: Compared, names: tuple[str, str], rows: list[Row], confidence: float) -> Iterator[str]:
    yield f"<h2>{escape(one.level.words)}</h2>"
    cards = "".join(
        f'<div class="card"><dt>{escape(label)}</dt><dd>{escape(value)}</dd></div>'
        for label, value in headline(one, names, confidence)
    )
    yield f'<dl class="cards">{cards}</dl>'
    if one.cautions:
        yield f"<ul>{''.join(f'<li>{escape(caution)}.</li>' for caution in one.cautions)}</ul>"
    yield _table(
        ["", *names, f"speed-up of {names[1]}, {100 * confidence:.4g} % interval"],
        [
            [label, cell(one.a), cell(one.b), found.words if (found := one.speedup(measure)) else ""]
            for label, cell, measure in ROWS
        ],
    )
    yield '<div class="plots">'
    for title, which in (("Time to the first token", "first_token"), ("Time of a whole answer", "total")):
        series = {
            name: plots.shares(
                [value for row in rows if row.side == side and (value := getattr(row, which)) is not None]
            )
            for name, side in zip(names, "ab", strict=True)
        }
        if all(series.values()):
            yield _figure(plots.curves(title, series, "% of requests", "seconds", _number))
    yield "</div>"


def _watched(one: Loaded, rows: list[Row]) -> Iterator[str]:
    yield f"<h2>{escape(one.level.words)}</h2>"
    yield '<div class="plots">'
    queue = {
        name: [(gauge.at, value) for gauge in one.gauges if (value := getattr(gauge, name)) is not None]
        for name in ("running", "waiting")
    }
    if any(map(len, queue.values())):
        yield _figure(plots.curves("Running and waiting", queue, "requests", "seconds", _number))
    cache = [(gauge.at, 100 * gauge.kv_use) for gauge in one.gauges if gauge.kv_use is not None]
    if cache:
        yield _figure(plots.curves("Use of the KV cache", {"used": cache}, "%", "seconds", _number))
    totals = plots.shares([row.total for row in rows if row.total is not None])
    if totals:
        yield _figure(plots.curves("Time of a whole answer", {"answers": totals}, "% of requests", "seconds", _number))
    yield "</div>"


def _carried(one: Loaded) -> list[str]:
    told = one.summary
    highest = [NONE if found is None else f"{found.highest:g}" for found in (one.running, one.waiting)]
    cache = share(one.kv_use.highest if one.kv_use else None)
    return [
        one.level.words,
        rate(told.requests_per_minute),
        rate(told.tokens_per_second),
        *highest,
        cache,
        errors(told),
    ]


def _interval(one: Compared) -> tuple[float, float, float] | None:
    found = one.speedup("total_mean")
    return (found.ratio, found.low, found.high) if found is not None and found.shown else None


def _tokens(one: Compared) -> tuple[float | None, float | None]:
    return one.a.tokens_per_second, one.b.tokens_per_second


def _requests(one: Compared) -> tuple[float | None, float | None]:
    return one.a.requests_per_minute, one.b.requests_per_minute


def _p95(one: Compared) -> tuple[float | None, float | None]:
    totals = (one.a.total, one.b.total)
    return tuple(round(spread.p95, 6) if spread else None for spread in totals)  # type: ignore[return-value]  # two of them


def _levels(found: Sequence[Compared] | Sequence[Loaded]) -> plots.Levels:
    """The levels of an axis: what they count, and their numbers."""
    levels = [one.level for one in found]
    if any(level.rate is not None for level in levels):
        return "requests/s", [f"{level.rate:g}" for level in levels]
    return "concurrency", [str(level.concurrency) for level in levels]


def _percentiles(levels: Sequence[Loaded], which: str) -> dict[str, list[float | None]]:
    found = [getattr(level.summary, which) for level in levels]
    return {
        label: [None if spread is None else round(getattr(spread, name), 6) for spread in found]
        for label, name in (("P50", "p50"), ("P95", "p95"), ("P99", "p99"))
    }


def _number(value: float) -> str:
    return f"{value:.3g}"


def _figure(svg: str) -> str:
    return f"<figure>{svg}</figure>"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    heads = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    lines = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{heads}</tr></thead><tbody>{lines}</tbody></table></div>'
