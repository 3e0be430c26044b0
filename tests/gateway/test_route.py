"""Who may answer and in which order."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.config import Alias, Fallback, Target
from penstock.gateway import route
from penstock.types import Operation

NAMES = st.lists(st.text("abcdef-0123456789", min_size=1, max_size=6), min_size=2, max_size=6, unique=True)
SESSIONS = st.binary(min_size=1, max_size=8)


def idle(name: str) -> float:
    del name
    return 0.0


@given(NAMES, st.lists(SESSIONS, min_size=1, max_size=20), st.data())
@settings(max_examples=60)
def test_a_replica_that_goes_moves_only_its_own_sessions(
    names: list[str], sessions: list[bytes], data: st.DataObject
) -> None:
    gone = data.draw(st.sampled_from(names))
    rest = [name for name in names if name != gone]
    for session in sessions:
        before = route.order(names, session, idle, names)
        after = route.order(rest, session, idle, rest)
        assert list(after) == [name for name in before if name != gone]


@given(NAMES, SESSIONS, st.randoms())
@settings(max_examples=40)
def test_a_session_stays_whatever_order_the_replicas_are_written_in(
    names: list[str], session: bytes, random: object
) -> None:
    shuffled = list(names)
    random.shuffle(shuffled)  # type: ignore[attr-defined]  # hypothesis gives a random.Random
    assert list(route.order(names, session, idle, names)) == list(route.order(shuffled, session, idle, shuffled))


def test_sessions_are_spread_over_all_replicas() -> None:
    names = ["a", "b", "c", "d"]
    owners = [route.order(names, b"%d" % number, idle, names)[0] for number in range(400)]
    assert all(50 < owners.count(name) < 150 for name in names)


@given(NAMES, st.none() | SESSIONS, st.data())
@settings(max_examples=80)
def test_every_replica_is_in_the_order_once(names: list[str], session: bytes | None, data: st.DataObject) -> None:
    loads = {name: data.draw(st.floats(0, 100)) for name in names}
    well = data.draw(st.sets(st.sampled_from(names)))
    assert sorted(route.order(names, session, loads.__getitem__, well)) == sorted(names)


@given(NAMES, SESSIONS, st.data())
@settings(max_examples=80)
def test_the_first_choice_never_carries_more_than_the_bound(
    names: list[str], session: bytes, data: st.DataObject
) -> None:
    loads = {name: float(data.draw(st.integers(0, 50))) for name in names}
    order = route.order(names, session, loads.__getitem__, names)
    bound = route.BOUND * (1 + sum(loads.values()) / len(loads))
    within = [name for name in route.order(names, session, idle, names) if loads[name] <= bound]
    assert list(order[: len(within)]) == within  # in the order of affinity, and never empty
    assert within


def test_the_bound_is_relative_to_the_replicas_that_are_up() -> None:
    """A dead replica without load must not make the living ones look overloaded."""
    loads = {"a": 4.0, "b": 4.0, "dead": 0.0}
    by_affinity = route.order(list(loads), b"session", idle, list(loads))
    assert list(route.order(list(loads), b"session", loads.__getitem__, {"a", "b"})) == list(by_affinity)


@given(NAMES, st.data())
@settings(max_examples=40)
def test_without_affinity_the_least_busy_is_first(names: list[str], data: st.DataObject) -> None:
    loads = {name: data.draw(st.floats(0, 100)) for name in names}
    carried = [loads[name] for name in route.order(names, None, loads.__getitem__, names)]
    assert carried == sorted(carried)


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


LONG = b'{"stream":true,"messages":[' + b"x" * route.PREFIX + b"]}"


def test_affinity_has_the_tenant() -> None:
    """X15: two tenants' conversations are never told to be one."""
    assert route.affinity("t1", "s", b"") != route.affinity("t2", "s", b"")
    assert route.affinity("t1", None, LONG) != route.affinity("t2", None, LONG)
    assert route.affinity("t1", "s", b"a") == route.affinity("t1", "s", b"b")
    assert route.affinity("t", "1s", b"") != route.affinity("t1", "s", b"")


def test_long_prompts_with_one_beginning_belong_together() -> None:
    other = LONG.replace(b'"stream":true', b'"stream":false,"seed":1')[:-2] + b"y]}"
    assert route.affinity("t", None, LONG) == route.affinity("t", None, other)
    assert route.affinity("t", None, LONG) != route.affinity("t", None, LONG.replace(b"[x", b"[y"))
    assert route.affinity("t", None, b'{"messages":[]}') is None
