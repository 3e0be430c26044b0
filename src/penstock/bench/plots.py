"""Plots as SVG text, drawn by pygal (the extra `bench`): numbers in, one `<svg>` each out. Nothing in them is fetched from anywhere.

A value is kept in a `<desc>` beside its mark, where the page's few lines of script find it for a pointer that rests there.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any, Final

from penstock.errors import ConfigError

COLOURS: Final = ("#6b7280", "#2563eb", "#d97706", "#059669", "#9333ea", "#dc2626")
"""A is grey, B is blue; told apart by their lightness too."""
POINTS: Final = 120
"""Of one curve: more than a page is wide enough to show."""

TICKS: Final = 4

Points = Sequence[tuple[float, float]]
Levels = tuple[str, Sequence[str]]
"""What the levels count, and each one's number."""


def drawing() -> ModuleType:
    """pygal, or an error that names the extra."""
    try:
        import pygal  # type: ignore[import-untyped]  # noqa: PLC0415 - an extra
    except ImportError:
        raise ConfigError(
            "Drawing the plots of --html: pygal is not installed.", hint="pip install 'penstock[bench]'"
        ) from None
    # It hooks imports for plugins of its own, in a way that warns on Python 3.11 and is ignored after; nothing here uses those.
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, pygal.PluginImportFixer)]
    return pygal  # type: ignore[no-any-return]


def bars(title: str, levels: Levels, values: Sequence[tuple[float, float, float] | None], unit: str) -> str:
    """One bar each with its interval; None leaves its place empty."""
    options = _options(title, unit, COLOURS[1:])
    chart = drawing().Bar(**options, x_title=levels[0], show_legend=False, range=_from_nothing(values))
    chart.x_labels = list(levels[1])
    chart.add(
        title,
        [None if value is None else {"value": value[0], "ci": {"low": value[1], "high": value[2]}} for value in values],
        allow_interruptions=True,
    )
    return _drawn(chart)


def steps(title: str, levels: Levels, series: Mapping[str, Sequence[float | None]], unit: str) -> str:
    """Lines from level to level."""
    chart = drawing().Line(
        **_options(title, unit), x_title=levels[0], include_x_axis=True, legend_at_bottom_columns=len(series)
    )
    chart.x_labels = list(levels[1])
    for name, values in series.items():
        chart.add(name, list(values))
    return _drawn(chart)


def curves(title: str, series: Mapping[str, Points], unit: str, across: str, write: Callable[[float], str]) -> str:
    """Curves over numbers; `write` says a number of the lower axis."""
    chart = drawing().XY(
        **_options(title, unit),
        x_title=across,
        dots_size=1.5,
        x_value_formatter=write,
        legend_at_bottom_columns=len(series),
    )
    places = [place for points in series.values() for place, _ in points]
    low, high = min(places), max(places)
    chart.x_labels = [low + (high - low) * tick / TICKS for tick in range(TICKS + 1)]
    for name, points in series.items():
        chart.add(name, list(thinned(points)))
    return _drawn(chart)


def shares(values: Sequence[float]) -> list[tuple[float, float]]:
    """The curve that tells which share of the values lies below each: (value, percent)."""
    ordered = sorted(values)
    return [(value, 100 * place / len(ordered)) for place, value in enumerate(ordered, 1)]


def thinned(points: Points) -> Points:
    """At most `POINTS` of them, the first and the last among them."""
    if len(points) <= POINTS:
        return points
    return [points[round(place * (len(points) - 1) / (POINTS - 1))] for place in range(POINTS)]


def _from_nothing(values: Sequence[tuple[float, float, float] | None]) -> tuple[float, float]:
    return 0.0, max([1.0, *(value[2] for value in values if value)]) * 1.05


def _options(title: str, unit: str, colours: Sequence[str] = COLOURS) -> dict[str, Any]:
    from pygal.style import Style  # type: ignore[import-untyped]  # noqa: PLC0415 - an extra

    return {
        "title": title,
        "y_title": unit,
        "js": (),
        "disable_xml_declaration": True,
        "explicit_size": False,
        "width": 520,
        "height": 320,
        "margin": 8,
        "margin_right": 24,
        "margin_bottom": 20,
        "stroke_style": {"width": 2},
        "legend_at_bottom": True,
        "legend_box_size": 10,
        "truncate_legend": -1,
        "truncate_label": -1,
        "show_minor_x_labels": True,
        "style": Style(
            background="transparent",
            plot_background="transparent",
            foreground="#374151",
            foreground_strong="#111827",
            foreground_subtle="#e5e7eb",
            guide_stroke_color="#e5e7eb",
            major_guide_stroke_color="#d1d5db",
            colors=tuple(colours),
            font_family="system-ui, sans-serif",
            title_font_size=15,
            label_font_size=11,
            major_label_font_size=11,
            legend_font_size=12,
            opacity="0.85",
            transition="0s",
        ),
    }


def _drawn(chart: Any) -> str:  # noqa: ANN401 - pygal has no types
    drawn: str = chart.render(is_unicode=True)
    return drawn
