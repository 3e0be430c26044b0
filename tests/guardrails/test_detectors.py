"""Secrets and personal details: what is found, what is not, and that pieces give what the whole gives."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.config_guardrails import Side
from penstock.errors import Filtered, Withheld
from penstock.guardrails.detectors import DETECTORS
from penstock.guardrails.find import Detector, Finder
from penstock.guardrails.text import EFFORT, Chain, Verdicts
from penstock.patterns import Pattern


def chain(verdicts: Verdicts | None = None, *, refuses: bool = False, side: Side = "output") -> Chain:
    found = verdicts or Verdicts()
    own = Detector("badge", Pattern(r"\bEMP-[0-9]{4,8}\b"))
    return Chain([Finder(one, found, side, refuses=refuses) for one in (*(make() for make in DETECTORS.values()), own)])


def whole(text: str) -> str:
    steps = chain()
    return steps.feed(text) + steps.end()


KEY = "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nIBAAK\n-----END RSA PRIVATE KEY-----"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (KEY, "private_key"),
        ("-----BEGIN PRIVATE KEY-----\nnever ended", "private_key"),
        ("sk-proj_abcdefghijklmnopqrstuvwxyz0123456789", "api_key"),
        ("AKIAIOSFODNN7EXAMPLE", "api_key"),
        ("ghp_" + "a1B2" * 9, "api_key"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl", "api_key"),
        ("jane.doe+x@mail.example.com", "email"),
        ("+49 30 1234567", "phone"),
        ("(415) 555-2671", "phone"),
        ("415-555-2671", "phone"),
        ("DE89 3704 0044 0532 0130 00", "iban"),
        ("GB82WEST12345698765432", "iban"),
        ("4111 1111 1111 1111", "card"),
        ("378282246310005", "card"),
        ("078-05-1120", "us_ssn"),
        ("EMP-12345", "badge"),
    ],
)
def test_a_find_is_replaced_by_its_name(text: str, kind: str) -> None:
    assert whole(f"before {text}") == f"before [redacted: {kind}]"
    if "never" not in text:
        assert whole(f"({text}) after") == f"([redacted: {kind}]) after"


@pytest.mark.parametrize(
    "text",
    [
        "The year 2024, version 1.2.3, ratio 16:9, 1234-5678, 10.0.0.1 and 123456789012345.",
        "4111 1111 1111 1112 has no check digit; 1111111111111111 is no card",
        "DE89 3704 0044 0532 0130 02 is no account, XX12 is short",
        "000-12-3456 and 900-12-3456 were never given out",
        "ask @jane or a@b; sk-short; the risk-averse",
        "-----BEGIN CERTIFICATE-----",
        "+1 2 3",
    ],
)
def test_what_is_none_stays(text: str) -> None:
    assert whole(text) == text


def test_a_card_before_other_digits_is_found() -> None:
    assert whole("4111 1111 1111 1111 123") == "[redacted: card] 123"
    assert whole("DE89 3704 0044 0532 0130 00 AND MORE") == "[redacted: iban] AND MORE"


PIECES = [
    "4111 1111", " 1111 1111", "078-05", "-1120", "jane.doe", "@mail", ".example", ".com", "sk-abcdefgh", "ijklmnopqrstuv", "\n", " ", "DE89 3704 0044",
    " 0532 0130 00", "-----BEGIN ", "PRIVATE KEY-----", "-----END PRIVATE KEY-----", "EMP-", "1234", "415-", "555-2671", "+49 30 ", "é", "word",
]  # fmt: skip


@given(st.lists(st.sampled_from(PIECES), max_size=16).map("".join), st.lists(st.integers(0, 200), max_size=10))
def test_any_cuts_give_what_the_whole_gives(text: str, places: list[int]) -> None:
    steps = chain()
    edges = [0, *sorted(min(place, len(text)) for place in places), len(text)]
    said = "".join(steps.feed(text[begin:end]) for begin, end in pairwise(edges)) + steps.end()
    assert said == whole(text)


def test_a_refusal_tells_no_text() -> None:
    verdicts = Verdicts([("system", "v1")])
    steps = chain(verdicts, refuses=True)
    with pytest.raises(Withheld, match="email") as refused:
        steps.feed("mail jane.doe@mail.example now")
    assert "jane" not in refused.value.sentence()
    assert verdicts.all() == (("system", "v1"), ("email", "refused"))
    with pytest.raises(Filtered, match="card"):
        chain(refuses=True, side="input").feed("4111111111111111; ")


def test_verdicts_count() -> None:
    verdicts = Verdicts()
    steps = chain(verdicts)
    steps.feed("a@b.example c@d.example ")
    steps.end()
    assert verdicts.all() == (("email", "redacted 2"),)


def test_prose_is_hardly_held_back() -> None:
    """What a reader waits for is a word or two."""
    text = "The quick brown fox jumps over the lazy dog and runs away from it."
    steps = chain()
    assert len(steps.feed(text)) >= len(text) - 8


@pytest.mark.parametrize("text", ["a@b.example ", "4111 1111 1111 1112, ", "x" * 50 + " "])
def test_a_flood_of_finds_is_refused_and_prose_is_not(text: str) -> None:
    """Looking through a request takes a moment, whatever is in it."""
    verdicts = Verdicts()
    steps = chain(verdicts, side="input")
    if text.startswith("x"):
        steps.feed(text * 10_000)
        return
    with pytest.raises(Filtered, match="places to look at"):
        steps.feed(text * (EFFORT + 10))
