"""The page: well-formed, complete in itself, and safe whatever names and engines say. A browser looks at it in tests/browser."""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import msgspec
import pytest
from tests.bench_verbs.made import CONDITIONS, compared, comparison, load_test

from penstock.bench.page import comparison_page, drawable, load_page
from penstock.bench.plots import POINTS, shares, thinned
from penstock.errors import ConfigError

VOID = {"meta", "br", "link", "img", "hr", "input"}
NASTY = "<script>alert('x')</script>\"&"


class Read(HTMLParser):
    """Elements, attributes and text; every tag must be closed by its own."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.found)


def complete(page: str) -> Read:
    """Nothing in it comes from elsewhere, and every drawing is XML."""
    read = Read(page)
    for tag, attributes in read.found:
        assert tag not in {"link", "img", "iframe", "object", "embed", "base"}
        for name in ("src", "href", "xlink:href", "action", "data"):
            assert not (attributes.get(name) or "").startswith(("http", "//")), (tag, attributes)
    assert not re.search(r"@import|url\((?!#)", page)
    drawn = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert drawn
    for svg in drawn:
        ET.fromstring(svg)  # noqa: S314 - what we have just drawn ourselves
    return read


def test_a_comparison() -> None:
    """S1.30: both sides' figures with their speed-ups, drawn."""
    found = comparison(compared([16.2] * 10, [1.8] * 10), compared([2.0, 1.0] * 5, [1.0, 2.0] * 5))
    read = complete(comparison_page(found))
    assert "9.0x faster" in read.text
    assert "✓ EXCELLENT - 5x+ speedup achieved" in read.text
    assert "NO DIFFERENCE SHOWN" in read.text
    assert read.count("h2") == 2
    assert read.count("svg") == 4  # no rows, so no curves
    policy = next(
        attributes["content"] for tag, attributes in read.found if tag == "meta" and "http-equiv" in attributes
    )
    assert policy is not None
    assert policy.startswith("default-src 'none'")


def test_a_speed_up_that_is_not_shown_is_not_drawn() -> None:
    """X10: neither in words nor as a bar."""
    one = compared([2.0, 1.0] * 5, [1.0, 2.0] * 5)
    ratio = one.speedup("total_mean")
    assert ratio is not None
    page = comparison_page(comparison(one))
    first = page[page.index("<svg") : page.index("</svg>")]
    assert 'class="rect' not in first


def test_a_load_test() -> None:
    """S0.3, S0.4: tokens a second at each level, the queue and the cache over time."""
    read = complete(load_page(load_test(10, 20, 40)))
    assert read.count("svg") == 4 + 3 * 2
    assert "Use of the KV cache" in read.text
    assert "http://b/metrics" in read.text


def test_words_from_elsewhere_stay_words() -> None:
    conditions = msgspec.structs.replace(CONDITIONS, command=NASTY, partial=NASTY, prompts=NASTY)
    found = comparison(compared([2.0] * 10, [1.0] * 10), conditions=conditions, name=NASTY)
    read = complete(comparison_page(found))
    assert read.count("script") == 1 + read.count("svg")
    assert NASTY in read.text


def test_a_partial_measurement_is_marked() -> None:
    conditions = msgspec.structs.replace(CONDITIONS, partial="interrupted by Ctrl-C")
    page = comparison_page(comparison(compared([2.0] * 10, [1.0] * 10), conditions=conditions))
    assert '<p class="partial" id="partial"><strong>Partial:</strong> interrupted by Ctrl-C.' in page


def test_a_measurement_that_ended_at_once_has_a_page() -> None:
    complete(comparison_page(comparison(compared([], []))))


def test_without_the_extra_it_says_which_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pygal", None)
    with pytest.raises(ConfigError) as missing:
        drawable()
    assert missing.value.hint == "pip install 'penstock[bench]'"


def test_drawing_leaves_no_hook_in_the_import_system() -> None:
    drawable()
    assert [finder for finder in sys.meta_path if type(finder).__module__.startswith("pygal")] == []


def test_curves_keep_their_ends() -> None:
    curve = shares([float(value) for value in range(1000)])
    assert curve[-1] == (999.0, 100.0)
    thin = thinned(curve)
    assert (len(thin), thin[0], thin[-1]) == (POINTS, curve[0], curve[-1])
