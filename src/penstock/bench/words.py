"""Figures as people read them: seconds, rates, shares, errors, and the five lines of a comparison. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from penstock.bench.bootstrap import times
from penstock.bench.results import Compared, Spread, Summary
from penstock.types import Wire

NONE: Final = "-"
HEADLINE: Final = "total_mean"

Cell = Callable[[Summary], str]


def seconds(value: float | None) -> str:
    """`16.2 s`, `182 ms`: three digits that mean something."""
    if value is None:
        return NONE
    if value >= 10:
        return f"{value:.1f} s"
    if value >= 1:
        return f"{value:.2f} s"
    return f"{value * 1000:.0f} ms" if value >= 0.1 else f"{value * 1000:.3g} ms"


def rate(value: float | None) -> str:
    """A number a minute or a second."""
    return NONE if value is None else f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def share(value: float | None) -> str:
    """0 to 1 as percent."""
    return NONE if value is None else f"{100 * value:.1f} %"


def errors(one: Summary) -> str:
    """`3: 2 × timeout, 1 × status 503`, or `0`."""
    if not one.faults:
        return "0"
    kinds = ", ".join(f"{count} × {kind}" for kind, count in one.faults.items())
    return f"{sum(one.faults.values())}: {kinds}"


def spoken(wire: Wire) -> str:
    """`OpenAI API`."""
    return "Ollama API" if wire is Wire.OLLAMA else "OpenAI API"


def _of(spread: Callable[[Summary], Spread | None], which: str) -> Cell:
    def cell(one: Summary) -> str:
        found = spread(one)
        return NONE if found is None else seconds(getattr(found, which))

    return cell


ROWS: Final[tuple[tuple[str, Cell, str], ...]] = (
    ("first token, P50", _of(lambda one: one.first_token, "p50"), "first_token_p50"),
    ("first token, P95", _of(lambda one: one.first_token, "p95"), ""),
    ("first token, P99", _of(lambda one: one.first_token, "p99"), ""),
    ("between tokens, P50", _of(lambda one: one.between_tokens, "p50"), ""),
    ("between tokens, P95", _of(lambda one: one.between_tokens, "p95"), ""),
    ("between tokens, P99", _of(lambda one: one.between_tokens, "p99"), ""),
    ("per output token, mean", _of(lambda one: one.per_token, "mean"), "per_token_mean"),
    ("whole answer, mean", _of(lambda one: one.total, "mean"), HEADLINE),
    ("whole answer, P50", _of(lambda one: one.total, "p50"), "total_p50"),
    ("whole answer, P95", _of(lambda one: one.total, "p95"), "total_p95"),
    ("whole answer, P99", _of(lambda one: one.total, "p99"), ""),
    ("requests/min", lambda one: rate(one.requests_per_minute), "requests_per_minute"),
    ("output tokens/s", lambda one: rate(one.tokens_per_second), "tokens_per_second"),
    ("errors", errors, ""),
)
"""What a table of one side's figures says, and which speed-up belongs to a line."""


def headline(one: Compared, names: tuple[str, str], confidence: float) -> tuple[tuple[str, str], ...]:
    """The lines of S1.25, from what was measured: a status is claimed only where the whole interval bears it out."""
    a, b = one.a.total, one.b.total
    faster = one.speedup(HEADLINE)
    lines = [(f"{names[0]} Time", _time(a)), (f"{names[1]} Time", _time(b))]
    if faster is None:
        return (*lines, ("Speedup", "not shown: nothing was answered by both"), ("Status", "✗ NOTHING TO COMPARE"))
    if not faster.shown:
        return (
            *lines,
            ("Speedup", faster.words),
            ("Improvement", "not shown"),
            ("Status", "- NO DIFFERENCE SHOWN - more requests would narrow the interval"),
        )
    ratio, interval = faster.ratio, f"{times(faster.low)} to {times(faster.high)} ({100 * confidence:.4g} %)"
    if ratio > 1:
        told = [("Speedup", f"{times(ratio)} faster"), ("Improvement", f"{100 * (1 - 1 / ratio):.1f}% reduction")]
    else:
        told = [
            ("Speedup", f"{times(1 / ratio)} slower"),
            ("Improvement", f"none: {100 * (1 / ratio - 1):.1f}% longer"),
        ]
        interval = f"{times(1 / faster.high)} to {times(1 / faster.low)} slower ({100 * confidence:.4g} %)"
    return (*lines, *told, ("Interval", interval), ("Status", _status(faster.low, faster.high)))


def lines(pairs: tuple[tuple[str, str], ...]) -> str:
    """`Ollama Time:  16.2s`, with the values under each other."""
    width = max(14, *(len(label) + 3 for label, _ in pairs))
    return "\n".join(f"{label + ':':<{width}}{value}" for label, value in pairs)


def columns(rows: list[tuple[str, ...]]) -> str:
    """A plain table: first and last column to the left, the others to the right."""
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if place in {0, len(row) - 1} else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def _time(spread: Spread | None) -> str:
    if spread is None:
        return NONE
    return f"{spread.mean:.1f}s" if spread.mean >= 1 else f"{spread.mean:.3g}s"


def _status(low: float, high: float) -> str:
    if low >= 5:
        return "✓ EXCELLENT - 5x+ speedup achieved"
    if low >= 2:
        return "✓ GOOD - 2x+ speedup achieved"
    if low > 1:
        return "✓ FASTER - speedup achieved"
    return f"✗ SLOWER - at least {times(1 / high)}"
