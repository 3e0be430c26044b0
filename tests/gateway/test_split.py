"""Which side of a canary a request takes: always the same for a conversation, and as many as the share says."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.config import Target
from penstock.gateway.canary import Outcome, Sample
from penstock.gateway.metrics import Metrics
from penstock.gateway.split import KEPT, Side, conversation, ending, picked
from penstock.protocols.dialect import Call
from penstock.state.switch import Canary
from penstock.types import Face, Operation

TARGET = Target(backends=("new",), model="m")
texts = st.text(max_size=40)


def canary(percent: float, identity: str = "c") -> Canary:
    return Canary(id=identity, target=TARGET, steps=(percent,), since=0.0)


def call(body: bytes) -> Call:
    return Call(Operation.CHAT, Face.OPENAI, "/v1/chat/completions", body, "application/json", "m", stream=False)


def key(body: object, session: str | None = None, tenant: str = "t") -> bytes:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return conversation(call(raw), tenant, session)


def turns(texts: Sequence[str]) -> list[dict[str, Any]]:
    """A conversation: the user and the assistant in turn, after a system message."""
    roles = ["user", "assistant"]
    said = [{"role": roles[index % 2], "content": text} for index, text in enumerate(texts)]
    return [{"role": "system", "content": "be brief"}, *said]


@given(st.lists(texts, min_size=1, max_size=9), st.booleans())
def test_every_turn_of_a_conversation_has_one_key(said: list[str], stream: bool) -> None:  # noqa: FBT001 - hypothesis
    first = key({"model": "m", "messages": turns(said[:1])})
    later = key({"messages": turns(said), "stream": stream, "model": "m", "temperature": 0.3})
    assert first == later


@given(texts, texts)
def test_other_beginnings_are_other_conversations(one: str, other: str) -> None:
    same = key({"messages": turns([one])}) == key({"messages": turns([other])})
    assert same == (one == other)


@given(texts.filter(bool), texts, texts)
def test_a_session_goes_before_what_is_said_and_tenants_do_not_meet(session: str, one: str, other: str) -> None:
    assert key({"messages": turns([one])}, session) == key({"messages": turns([other])}, session)
    assert key({}, session, "a") != key({}, session, "b")


@given(st.binary(max_size=300))
def test_any_body_has_a_key(body: bytes) -> None:
    assert key(body) == key(body)


def test_prompts_and_inputs_are_beginnings_too() -> None:
    assert key({"prompt": "a"}) == key({"model": "m", "prompt": "a", "stream": True}) != key({"prompt": "b"})
    assert key({"input": ["a"]}) != key({"input": ["b"]})


@given(st.binary(max_size=30), st.floats(0, 100), st.floats(0, 100))
def test_who_takes_part_goes_on_taking_part_while_the_share_grows(one: bytes, share: float, other: float) -> None:
    few, many = sorted((share, other))
    assert picked(canary(many), one) or not picked(canary(few), one)


@given(st.binary(max_size=30))
def test_none_and_all(one: bytes) -> None:
    assert not picked(canary(0), one)
    assert picked(canary(100), one)


@pytest.mark.parametrize("percent", [1, 5, 25, 50])
def test_the_share_is_what_it_says(percent: int) -> None:
    found = sum(picked(canary(percent), b"t\0%d" % number) for number in range(20_000))
    assert abs(found / 20_000 - percent / 100) < 0.012


def test_the_next_canary_takes_others() -> None:
    """So that the same conversations are not always the first to try something."""
    both = [picked(canary(50, name), b"t\0%d" % number) for number in range(1000) for name in ("a", "b")]
    agree = sum(one == other for one, other in zip(both[::2], both[1::2], strict=True))
    assert 400 < agree < 600


@pytest.mark.parametrize(
    ("status", "told", "rank", "outcome"),
    [
        (200, "answered", 0, Outcome.GOOD),
        (200, "answered", 1, Outcome.FAILED),
        (200, "broken", 0, Outcome.FAILED),
        (400, "answered", 0, Outcome.REFUSED),
        (404, "answered", 0, Outcome.REFUSED),
        (429, "refused", 0, Outcome.FAILED),
        (501, "refused", 0, Outcome.FAILED),
        (503, "refused", 0, Outcome.FAILED),
        (499, "client gone", 1, Outcome.LEFT),
    ],
)
def test_how_a_request_ended_for_its_side(status: int, told: str, rank: int, outcome: Outcome) -> None:
    """An answer of another target is a failure of this one, whatever the caller got."""
    assert ending(status, told, rank) is outcome


def test_ends_that_nobody_collects_are_bounded() -> None:
    metrics = Metrics()
    side = Side("m", "canary", metrics)
    for number in range(KEPT * 2):
        side.over(Sample(float(number), Outcome.GOOD, 1.0))
    kept = side.taken()
    assert len(kept) <= KEPT
    assert kept[-1].at == KEPT * 2 - 1
    assert side.taken() == []
    counted = dict(metrics.snapshot({}).counters["penstock_canary_requests"])
    assert counted == {("m", "canary", "good"): KEPT * 2}
