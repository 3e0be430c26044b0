"""Pairs in figures, and the figures in words."""

from __future__ import annotations

from html.parser import HTMLParser

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.agreement import page, text, told
from penstock.agreement.answer import Answer, Asked, ToolCall, digest
from penstock.agreement.facts import facts_of
from penstock.agreement.pair import Pair, paired, without_text
from penstock.agreement.report import Report, report, spread

WORDS = st.sampled_from(["", "one", "one two", "I can't say.", "<b>&", '{"a": 1}', "x " * 80])
ANSWERS = st.builds(
    Answer,
    text=WORDS,
    error=st.sampled_from(["", "", "", "it went away"]),
    finish=st.sampled_from(["stop", "length", ""]),
    tools=st.sampled_from([(), (ToolCall("f", "{}"),)]),
    seconds=st.floats(0, 10),
    first_token=st.floats(0, 1),
)
ASKED = st.builds(
    Asked, prompt=st.sampled_from(["p", "q <i>"]), structured=st.sampled_from(["", "json"]), greedy=st.booleans()
)
PAIRS = st.lists(st.builds(paired, st.text(max_size=4), st.floats(0, 2e9), ASKED, ANSWERS, ANSWERS), max_size=12)


def pair(first: str | Answer, second: str | Answer, prompt: str = "p", **asked: bool) -> Pair:
    one = first if isinstance(first, Answer) else Answer(text=first)
    other = second if isinstance(second, Answer) else Answer(text=second)
    question = Asked(prompt=prompt, digest=digest(prompt), greedy=asked.get("greedy", False))
    return paired("req-1", 1_700_000_000.0, question, one, other)


def test_agreement_with_its_interval() -> None:
    """S3.26: how often both say the same, and how sure that is."""
    found = report([*[pair("a", "a", greedy=True)] * 8, pair("a", "b"), pair("a", Answer(error="gone"))], alias="m")
    assert (found.pairs, found.compared) == (10, 9)
    assert (found.agreed.count, found.agreed.of) == (8, 9)
    assert found.agreed.low < 8 / 9 < found.agreed.high
    assert {name: (rate.count, rate.of) for name, rate in found.measures.items()} == {
        "text, sampled": (0, 1),
        "text, sampling off": (8, 8),
    }


def test_errors_refusals_and_finishes_side_by_side() -> None:
    pairs = [
        pair("a", Answer(error="gone")),
        pair("Here.", "I can't."),
        pair(Answer(text="a", finish="stop"), Answer(text="a", finish="length")),
    ]
    found = report(pairs, alias="m")
    assert (found.errors.only_first, found.errors.only_second, found.errors.finding) == (0, 1, "no difference shown")
    assert (found.refusals.first.count, found.refusals.second.count) == (0, 1)
    assert found.finishes == {"length": (0, 1), "not said": (1, 1), "stop": (1, 0)}
    assert found.cut.second.count == 1


def test_a_change_is_called_one_when_chance_does_not_explain_it() -> None:
    def finding(worse: int, better: int) -> str:
        pairs = [*[pair("a", "I can't.")] * worse, *[pair("I can't.", "a")] * better, *[pair("a", "a")] * 50]
        return report(pairs, alias="m").refusals.finding

    assert finding(5, 0) == "no difference shown"
    assert finding(6, 0) == "worse"
    assert finding(0, 6) == "better"
    assert finding(9, 5) == "no difference shown"


def test_golden_facts_need_the_text() -> None:
    facts = facts_of(['{"prompt": "p", "facts": ["Bern"]}'], "g")
    kept = pair("It is Bern.", "It is Zürich.")
    found = report([kept, without_text(kept), pair("a", "b", "other")], alias="m", facts=facts)
    assert found.facts is not None
    assert (found.facts.first.count, found.facts.second.count, found.facts.first.of) == (0, 1, 1)
    assert found.facts_unknown == 1
    assert any("keep: text" in sentence for sentence in told.findings(found))
    assert report([kept], alias="m").facts is None


def test_examples_show_the_worst_first() -> None:
    facts = facts_of(['{"prompt": "capital", "facts": ["Bern"]}'], "g")
    pairs = [
        pair("same", "same"),
        pair("a b c d", "a b c x"),
        pair("a b c d", "w x y z"),
        pair("Yes.", "I can't."),
        pair("Bern", "Basel", "capital"),
        pair("a", Answer(error="it went away")),
        pair(Answer(error="gone"), Answer(error="gone")),
        pair(Answer(tools=(ToolCall("f", "{}"),)), "talk"),
        pair(Answer(error="gone"), "a"),
    ]
    found = report(pairs, alias="m", facts=facts, examples=20)
    assert list(found.examples) == [pairs[index] for index in (5, 4, 7, 3, 2, 8, 1)]
    assert len(report(pairs, alias="m", examples=2).examples) == 2


def test_the_text_of_a_report() -> None:
    pairs = [pair("The gateway has one line.", "The gateway has two lines.", "What is it?"), pair("a", "a")]
    said = text.as_text(report(pairs, alias="guide"))
    assert said.startswith("guide: 2 pairs of primary and shadow, 2023-11-14 22:13 UTC")
    assert "agreed            50.0 %" in said
    assert "Nothing got worse that 2 pairs can show; a rarer change could still hide." in said
    assert "example 1: text differs from word 4 on" in said
    assert "asked    What is it?" in said
    assert "shadow   The gateway has two lines." in said


def test_nothing_that_a_terminal_obeys() -> None:
    said = text.as_text(report([pair("fine", "\x1b[2J\x07gone\u202e\nnext", "\x1b]0;title\x07")], alias="m"))
    assert "\x1b" not in said
    assert "\x07" not in said
    assert "\u202e" not in said
    assert "gone\N{REPLACEMENT CHARACTER} next" in said


def test_a_difference_far_down_is_shown_with_what_is_around_it() -> None:
    long = " ".join(f"w{number}" for number in range(500))
    shown = told.around(long, 300)
    assert shown.startswith("… w288 ")
    assert shown.endswith(" w311 …")


def test_a_report_of_nothing() -> None:
    said = text.as_text(report([], alias="m"))
    assert said.startswith("m: 0 pairs of primary and shadow\n")
    assert "nothing is shown" in said
    assert "worse" not in said


class Page(HTMLParser):
    """Tags that are open, and what would load or run something."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag != "meta":
            self.open.append(tag)
        self.loads += [name for name, _ in attrs if name in {"src", "href"} or name.startswith("on")]
        self.loads += [tag] if tag in {"script", "link", "img", "iframe", "b", "i"} else []

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@given(PAIRS)
@settings(max_examples=60)
def test_any_pairs_make_a_report(pairs: list[Pair]) -> None:
    found = report(pairs, alias="m", facts=facts_of(['{"prompt": "p", "facts": ["one"]}'], "g"))
    assert found.compared + found.errors.first.count + found.errors.second.count >= found.pairs
    assert found.agreed.of == sum(rate.of for rate in found.measures.values()) == found.compared
    assert text.as_text(found).endswith("\n")
    assert msgspec.json.decode(msgspec.json.encode(found), type=Report) == found
    reader = Page()
    reader.feed(page.as_page(found))
    assert (reader.open, reader.loads) == ([], [])


@given(PAIRS)
@settings(max_examples=40)
def test_figures_do_not_depend_on_the_text_being_kept(pairs: list[Pair]) -> None:
    with_text, bare = report(pairs, alias="m"), report([without_text(one) for one in pairs], alias="m")
    for name in (
        "agreed",
        "measures",
        "shared",
        "length",
        "errors",
        "refusals",
        "invalid",
        "cut",
        "finishes",
        "seconds",
    ):
        assert getattr(with_text, name) == getattr(bare, name), name


def test_a_spread() -> None:
    found = spread([5.0, 1.0, 3.0, 2.0, 4.0])
    assert found is not None
    assert (found.count, found.tenth, found.median, found.ninetieth) == (5, 1.0, 3.0, 5.0)
    assert spread([]) is None
    assert spread([2.0]) == pytest.approx(msgspec.structs.replace(found, count=1, tenth=2.0, median=2.0, ninetieth=2.0))
