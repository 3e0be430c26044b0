"""One pair, judged by the measure that fits what was asked."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.agreement.answer import Answer, Asked, ToolCall, even
from penstock.agreement.pair import dumped, loaded, paired, without_text
from penstock.agreement.refusals import refused
from penstock.agreement.verdict import judge

PLAIN = Asked(prompt="Say hello.")
JSON = Asked(prompt="Say it in JSON.", structured="json")
TEXTS = st.text(alphabet="ab .\n{}1", max_size=20)


def said(text: str) -> Answer:
    return Answer(text=text)


def test_equal_words_agree() -> None:
    verdict = judge(PLAIN, said("Hello  wide\nworld."), said("Hello wide world. "))
    assert (verdict.outcome, verdict.measure, verdict.shared, verdict.first_difference) == ("agreed", "text", 1.0, None)
    assert verdict.words == (4, 4)


def test_the_first_difference_and_what_is_shared() -> None:
    """S3.26: token-level agreement."""
    verdict = judge(PLAIN, said("The answer is 41, sir."), said("The answer is 42, sir."))
    assert (verdict.outcome, verdict.first_difference) == ("differed", 3)
    assert verdict.shared == pytest.approx(6 / 7)


def test_white_space_inside_a_word_is_a_difference() -> None:
    assert judge(PLAIN, said("a b"), said("ab")).outcome == "differed"


def test_json_is_compared_as_values() -> None:
    """S3.26: exact match for structured output."""
    one, other = said('{"a": 1, "b": [true]}'), said('{"b":[true],"a":1.0}')
    assert judge(JSON, one, other).outcome == "agreed"
    assert judge(PLAIN, one, other).outcome == "differed"
    verdict = judge(JSON, one, said('Here it is: {"a": 1}'))
    assert (verdict.outcome, verdict.valid) == ("differed", (True, False))
    both = judge(JSON, said("It is 1."), said("It is\n1."))
    assert (both.outcome, both.valid) == ("agreed", (False, False))


def test_tool_calls_are_compared_as_values_and_never_made() -> None:
    tools = Asked(prompt="Weather?", structured="tools")
    call = Answer(tools=(ToolCall("weather", '{"city": "Bern"}'),), finish="tool_calls")
    same = Answer(tools=(ToolCall("weather", '{"city":"Bern"}'),), finish="tool_calls")
    assert judge(tools, call, same).outcome == "agreed"
    talk = judge(tools, call, said("It rains."))
    assert (talk.outcome, talk.measure) == ("differed", "tools")
    broken = judge(tools, call, Answer(tools=(ToolCall("weather", '{"city"'),)))
    assert (broken.outcome, broken.valid) == ("differed", (True, False))
    assert judge(tools, said("It rains."), said("It rains.")).measure == "text"


def test_vectors_point_the_same_way() -> None:
    one = Answer(vectors=((1.0, 0.0), (0.0, 2.0)))
    assert judge(PLAIN, one, Answer(vectors=((2.0, 0.0001), (0.0, 1.0)))).outcome == "agreed"
    away = judge(PLAIN, one, Answer(vectors=((1.0, 0.0), (1.0, 0.0))))
    assert (away.outcome, away.measure, away.cosine) == ("differed", "vectors", 0.0)
    for other in ((), ((1.0, 0.0),), ((1.0, 0.0, 0.0), (0.0, 2.0, 0.0))):
        assert judge(PLAIN, one, Answer(vectors=other)).outcome == "differed"


@pytest.mark.parametrize(
    ("first", "second", "outcome"),
    [("", "lost", "second_failed"), ("lost", "", "first_failed"), ("lost", "lost", "both_failed")],
)
def test_failures_are_no_differences(first: str, second: str, outcome: str) -> None:
    assert judge(PLAIN, Answer(error=first), Answer(text="t", error=second)).outcome == outcome


@given(TEXTS, TEXTS, st.sampled_from([PLAIN, JSON]))
def test_whoever_comes_first(first: str, second: str, asked: Asked) -> None:
    one, other = judge(asked, said(first), said(second)), judge(asked, said(second), said(first))
    assert one.outcome == other.outcome
    assert one.shared == other.shared
    assert one.words == other.words[::-1]


@given(TEXTS)
def test_an_answer_agrees_with_itself(text: str) -> None:
    assert judge(PLAIN, said(text), said(text)).outcome == judge(JSON, said(text), said(text)).outcome == "agreed"


@given(TEXTS, TEXTS)
def test_agreement_is_equality_but_for_white_space(first: str, second: str) -> None:
    assert (judge(PLAIN, said(first), said(second)).outcome == "agreed") == (even(first) == even(second))


@pytest.mark.parametrize(
    "text",
    [
        "I can't help with that.",
        "I\N{RIGHT SINGLE QUOTATION MARK}m sorry, but I cannot assist with that request.",
        "Sorry, I can't.",
        "I am unable to provide this.",
        "As an AI language model, I am not able to hold opinions.",
        "Unfortunately, I won't do that.",
        "  I'm very sorry  but I must decline.",
    ],
)
def test_refusals(text: str) -> None:
    assert refused(said(text))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Sure! I can help.",
        "I can tell you: the manual says 'I cannot help'.",
        "I cannoli are a dessert.",
        "Sorry for the delay. Here is the answer.",
        "The engine said it can't start.",
        "Unfortunately, the shop is closed. It opens at nine.",
    ],
)
def test_what_is_no_refusal(text: str) -> None:
    assert not refused(said(text))


def test_an_engine_may_say_itself_that_it_refuses() -> None:
    assert refused(Answer(refusal="I will not."))
    assert refused(Answer(text="Well", finish="content_filter"))
    assert not refused(Answer(tools=(ToolCall("f"),), text="I can't, so I ask."))


SECRET = "pomegranate"


def test_a_pair_without_text_holds_no_word() -> None:
    first = Answer(
        text=f"{SECRET} one", refusal=SECRET, tools=(ToolCall("find", f'{{"q": "{SECRET}"}}'),), vectors=((0.123456,),)
    )
    second = Answer(text=f"{SECRET} one two")
    pair = paired("id", 1.0, Asked(prompt=f"What is {SECRET}?"), first, second)
    bare = without_text(pair)
    assert SECRET in dumped(pair)
    assert SECRET not in dumped(bare)
    assert "0.123456" not in dumped(bare)
    assert bare.verdict == pair.verdict
    assert bare.asked.digest.startswith("sha256:")
    assert (pair.kept_text, bare.kept_text) == (True, False)
    assert without_text(bare) == bare


@given(TEXTS, TEXTS)
def test_a_pair_reads_back(first: str, second: str) -> None:
    pair = paired("id", 12.5, JSON, said(first), said(second))
    assert loaded(dumped(pair)) == pair
    assert loaded(dumped(without_text(pair))) == without_text(pair)


def test_what_is_no_pair() -> None:
    with pytest.raises(msgspec.ValidationError):
        loaded(b'{"id": "x"}')
