"""Who may answer and in which order."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.config import Alias, Fallback, Target
from penstock.gateway import prefix, route
from penstock.gateway.prefix import REQUEST, Prompt, Sent, Trip
from penstock.types import Operation

NAMES = st.lists(st.text("abcdef-0123456789", min_size=1, max_size=6), min_size=2, max_size=6, unique=True)
SESSIONS = st.text("abcdef0123456789", min_size=1, max_size=8)


def idle(name: str) -> float:
    del name
    return 0.0


class Replicas:
    """Replicas that remember what they are sent; what is read is read at once."""

    def __init__(self, *names: str) -> None:
        self.names = list(names)
        self.well = set(names)
        self.busy = dict.fromkeys(names, 0.0)
        self.sent = {name: Sent() for name in names}
        self.now = 0.0

    def order(self, asked: Prompt | None) -> list[str]:
        return list(route.order(self.names, asked, self.busy.__getitem__, self.well, self.sent, self.now))

    def send(self, asked: Prompt, *, reads: bool = True) -> str:
        self.now += 1.0
        name = self.order(asked)[0]
        trip = Trip(asked)
        trip.begin(self.sent[name], self.now)
        if reads:
            trip.over()
        return name

    def lose(self, name: str) -> None:
        self.well.discard(name)
        self.sent[name].forget()


def asked(text: str = "", session: str | None = None, tenant: str = "t") -> Prompt:
    return prefix.prompt(tenant, "m", session, b'{"messages":[' + text.encode() + b"]}")


def words(seed: int, length: int) -> str:
    return random.Random(seed).randbytes(length // 2).hex()


@given(NAMES, st.lists(SESSIONS, min_size=1, max_size=20, unique=True), st.data())
@settings(max_examples=60)
def test_a_replica_that_goes_moves_only_its_own_sessions(
    names: list[str], sessions: list[str], data: st.DataObject
) -> None:
    """Whatever they are: sessions with long and short prompts, and long prompts without a session."""
    gone = data.draw(st.sampled_from(names))
    prompts = [
        asked(words(number, 16 * 1024 if number % 3 else 64), None if number % 3 == 2 else session)
        for number, session in enumerate(sessions)
    ]
    fleet = Replicas(*names)
    owners = [fleet.send(prompt) for prompt in prompts]
    assert [fleet.send(prompt) for prompt in prompts] == owners
    fleet.lose(gone)
    after = [fleet.send(prompt) for prompt in prompts]
    assert gone not in after
    assert [now for now, before in zip(after, owners, strict=True) if before != gone] == [
        before for before in owners if before != gone
    ]


def test_a_replica_that_comes_takes_no_conversation_away_and_gets_new_ones() -> None:
    fleet = Replicas("a", "b", "c")
    chats = [asked(words(number, 6000), f"chat {number}" if number % 2 else None) for number in range(30)]
    owners = [fleet.send(chat) for chat in chats]
    fleet.names.append("new")
    fleet.well.add("new")
    fleet.busy["new"], fleet.sent["new"] = 0.0, Sent()
    assert [fleet.send(chat) for chat in chats] == owners
    assert [fleet.send(asked(words(1000 + number, 6000))) for number in range(8)].count("new") >= 4


@given(NAMES, SESSIONS, st.randoms())
@settings(max_examples=40)
def test_workers_that_know_nothing_agree(names: list[str], session: str, dice: random.Random) -> None:
    """In whatever order the replicas are written."""
    shuffled = list(names)
    dice.shuffle(shuffled)
    for one in (asked("hello", session), asked(words(1, 8192))):
        assert Replicas(*names).order(one) == Replicas(*shuffled).order(one)


def test_sessions_are_spread_over_all_replicas() -> None:
    fleet = Replicas("a", "b", "c", "d")
    owners = [fleet.send(asked("short", f"session {number}")) for number in range(400)]
    assert all(60 < owners.count(name) < 140 for name in fleet.names)


@given(NAMES, st.none() | SESSIONS, st.data())
@settings(max_examples=80)
def test_every_replica_is_in_the_order_once_and_those_that_are_down_come_last(
    names: list[str], session: str | None, data: st.DataObject
) -> None:
    fleet = Replicas(*names)
    fleet.busy = {name: data.draw(st.floats(0, 100)) for name in names}
    fleet.well = data.draw(st.sets(st.sampled_from(names)))
    for one in (None, asked(words(2, data.draw(st.integers(0, 6000))), session)):
        found = fleet.order(one)
        assert sorted(found) == sorted(names)
        assert one is None or set(found[: len(fleet.well)]) == fleet.well


@given(NAMES, SESSIONS, st.data())
@settings(max_examples=80)
def test_a_session_leaves_a_replica_that_carries_more_than_the_bound(
    names: list[str], session: str, data: st.DataObject
) -> None:
    fleet = Replicas(*names)
    owner = fleet.send(asked("a short one", session))
    fleet.busy = {name: float(data.draw(st.integers(0, 20))) for name in names}
    bound = route.BOUND * (1 + sum(fleet.busy.values()) / len(names))
    found = fleet.order(asked("a short one", session))
    behind = REQUEST * (fleet.busy[owner] - min(fleet.busy.values()))
    if fleet.busy[owner] > bound:
        assert fleet.busy[found[0]] <= bound
    elif behind + 3 * REQUEST * len(names) < route.LONGER:
        assert found[0] == owner


def test_a_beginning_goes_where_it_was_read_until_much_waits_there() -> None:
    fleet = Replicas("a", "b", "c")
    document = words(3, 32 * 1024)
    owner = fleet.send(asked(document))
    assert {fleet.send(asked(f"{document} question {number}")) for number in range(5)} == {owner}
    Trip(asked(words(4, 100 * 1024))).begin(fleet.sent[owner], fleet.now)
    other = fleet.send(asked(f"{document} one more"))
    assert other != owner
    fleet.busy[owner] = 40.0
    assert fleet.send(asked(f"{document} and another")) == other


def test_a_hot_beginning_is_spread_over_as_many_replicas_as_it_needs() -> None:
    fleet = Replicas("a", "b", "c", "d")
    beginning = words(5, 8 * 1024)
    for number in range(200):
        name = fleet.send(asked(f"{beginning} {number}"))
        fleet.busy[name] += 1
    assert min(fleet.busy.values()) > 40
    assert max(fleet.busy.values()) < 60


def test_what_nobody_knows_goes_where_little_waits() -> None:
    fleet = Replicas("a", "b", "c")
    first = fleet.send(asked(words(6, 64 * 1024)), reads=False)
    second = fleet.send(asked(words(7, 64 * 1024)), reads=False)
    third = fleet.send(asked(words(8, 64 * 1024)), reads=False)
    assert {first, second, third} == {"a", "b", "c"}


def test_new_beginnings_fill_all_caches_alike_even_when_nobody_is_in_a_hurry() -> None:
    """They share a short preamble, which alone must not draw all of them to one replica."""
    fleet = Replicas("a", "b", "c", "d")
    preamble = words(9, 1024)
    for number in range(200):
        fleet.send(asked(preamble + words(100 + number, 8 * 1024)))
    sizes = [one.size for one in fleet.sent.values()]
    assert max(sizes) < 1.3 * sum(sizes) / len(sizes)


def test_an_overload_that_only_a_dead_replica_relieves_is_none() -> None:
    """A dead replica without load must not make the living ones look overloaded."""
    fleet = Replicas("a", "b", "dead")
    fleet.busy = {"a": 4.0, "b": 4.0, "dead": 0.0}
    fleet.lose("dead")
    owner = fleet.send(asked("short", "session"))
    fleet.busy[owner] = 5.0
    assert fleet.order(asked("short", "session"))[0] == owner


@given(NAMES, st.data())
@settings(max_examples=40)
def test_what_no_cache_keeps_goes_to_the_least_busy(names: list[str], data: st.DataObject) -> None:
    fleet = Replicas(*names)
    fleet.busy = {name: data.draw(st.floats(0, 100)) for name in names}
    carried = [fleet.busy[name] for name in fleet.order(None)]
    assert carried == sorted(carried)


def test_only_prompts_are_read_into_a_prefix_cache() -> None:
    assert Operation.CHAT in route.READ
    assert not any(operation.pinned for operation in route.READ)


def alias(fallback: Fallback, *models: str) -> Alias:
    return Alias(
        targets=tuple(Target(backends=(f"b{n}",), model=model) for n, model in enumerate(models)), fallback=fallback
    )


@pytest.mark.parametrize(("fallback", "operation"), list(itertools.product(("any", "same-model", "never"), Operation)))
def test_which_targets_may_answer(fallback: Fallback, operation: Operation) -> None:
    """X13: pinned operations stay with their model under every policy."""
    same = fallback == "same-model" or operation.pinned
    wanted = [0] if fallback == "never" else [0, 2] if same else [0, 1, 2]
    assert list(route.eligible(alias(fallback, "m", "other", "m"), operation)) == wanted
