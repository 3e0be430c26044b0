"""Slots and queue, driven by tickets that record whether they run."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from penstock.errors import Overloaded
from penstock.gateway.admit import Admission


class Engines:
    """How many requests all backends together take."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.busy = 0
        self.started: list[Asking] = []


class Asking:
    """A request: it starts where the engines have room, and counts itself into its alias as the line does."""

    def __init__(self, admission: Admission, engines: Engines, alias_name: str = "a") -> None:
        self.admission = admission
        self.engines = engines
        self.alias_name = alias_name

    def try_start(self) -> bool:
        if self.engines.busy >= self.engines.slots:
            return False
        self.engines.busy += 1
        self.admission.aliases[self.alias_name].busy += 1
        self.engines.started.append(self)
        return True

    def end(self) -> None:
        self.engines.busy -= 1
        self.admission.aliases[self.alias_name].busy -= 1
        self.admission.wake()


def admission(queue: int = 10, **slots: int) -> Admission:
    one = Admission()
    one.reshape(slots or {"a": 0}, queue)
    return one


def test_whoever_finds_a_slot_starts_at_once() -> None:
    one, engines = admission(), Engines(1)
    assert one.enter(Asking(one, engines))
    assert one.waiting == 0


class Brief:
    """A request that is over as soon as it starts, as Ollama's load idiom is."""

    alias_name = "a"

    def __init__(self, admission: Admission, ended: list[Brief]) -> None:
        self.admission = admission
        self.ended = ended

    def try_start(self) -> bool:
        self.ended.append(self)
        self.admission.wake()
        return True


def test_a_long_queue_of_brief_requests_is_no_deep_recursion() -> None:
    one, engines, ended = admission(queue=5000), Engines(1), list[Brief]()
    running = Asking(one, engines)
    blocked = Asking(one, engines)
    one.enter(running)
    one.enter(blocked)
    tickets = [Brief(one, ended) for _ in range(2000)]
    for ticket in tickets:
        one.enter(ticket)
    running.end()
    assert ended == tickets
    assert one.waiting == 0


def test_released_slots_go_in_order_of_arrival() -> None:
    one, engines = admission(), Engines(1)
    tickets = [Asking(one, engines) for _ in range(4)]
    assert [one.enter(ticket) for ticket in tickets] == [True, False, False, False]
    for ticket in tickets:
        ticket.end()
    assert engines.started == tickets
    assert one.waiting == 0


def test_of_all_aliases_the_one_that_waits_longest_goes_first() -> None:
    """Two aliases over the same engine: the busier one must not starve the other."""
    one, engines = admission(a=0, b=0), Engines(1)
    running = Asking(one, engines, "a")
    one.enter(running)
    waiting = [Asking(one, engines, name) for name in ("b", "a", "a", "b", "a")]
    for ticket in waiting:
        one.enter(ticket)
    for ticket in [running, *waiting]:
        ticket.end()
    assert engines.started == [running, *waiting]


def test_an_alias_without_room_does_not_hold_back_another() -> None:
    one, engines = admission(a=1, b=1), Engines(2)
    first, held, other = Asking(one, engines, "a"), Asking(one, engines, "a"), Asking(one, engines, "b")
    last = Asking(one, engines, "b")
    assert [one.enter(ticket) for ticket in (first, held, other, last)] == [True, False, True, False]
    other.end()
    assert engines.started == [first, other, last]


def test_nobody_overtakes_the_queue() -> None:
    one, engines = admission(), Engines(0)
    early, late = Asking(one, engines), Asking(one, engines)
    one.enter(early)
    engines.slots = 1
    assert not one.enter(late)
    one.wake()
    assert engines.started == [early]


def test_a_full_queue_refuses_and_says_so() -> None:
    one, engines = admission(queue=2), Engines(0)
    for _ in range(2):
        one.enter(Asking(one, engines))
    with pytest.raises(Overloaded, match="2 requests wait already") as error:
        one.enter(Asking(one, engines))
    assert error.value.retry_after == 1
    assert one.waiting == 2


def test_who_leaves_frees_the_place_at_once() -> None:
    one, engines = admission(queue=1), Engines(0)
    gone, next_one = Asking(one, engines), Asking(one, engines)
    one.enter(gone)
    one.leave(gone)
    one.leave(gone)  # leaving twice is leaving
    assert one.waiting == 0
    one.enter(next_one)
    engines.slots = 1
    one.wake()
    assert engines.started == [next_one]


def test_new_limits_let_waiting_requests_go() -> None:
    one, engines = admission(a=1), Engines(5)
    tickets = [Asking(one, engines) for _ in range(3)]
    assert [one.enter(ticket) for ticket in tickets] == [True, False, False]
    one.reshape({"a": 0}, 10)
    assert engines.started == tickets


SLOTS = {"a": 2, "b": 0, "c": 1}


class Life(RuleBasedStateMachine):
    """Any order of arrivals, ends and departures."""

    def __init__(self) -> None:
        super().__init__()
        self.engines = Engines(3)
        self.one = admission(queue=4, **SLOTS)
        self.arrived: dict[str, list[Asking]] = {name: [] for name in SLOTS}
        self.waiting: list[Asking] = []
        self.running: list[Asking] = []

    def settle(self) -> None:
        self.running += [one for one in self.waiting if one in self.engines.started]
        self.waiting = [one for one in self.waiting if one not in self.engines.started]

    @rule(name=st.sampled_from(sorted(SLOTS)))
    def arrives(self, name: str) -> None:
        ticket = Asking(self.one, self.engines, name)
        try:
            started = self.one.enter(ticket)
        except Overloaded:
            assert len(self.waiting) == 4
            return
        self.arrived[name].append(ticket)
        (self.running if started else self.waiting).append(ticket)

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def ends(self, data: st.DataObject) -> None:
        ticket = self.running.pop(data.draw(st.integers(0, len(self.running) - 1)))
        ticket.end()
        self.settle()

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def leaves(self, data: st.DataObject) -> None:
        ticket = self.waiting.pop(data.draw(st.integers(0, len(self.waiting) - 1)))
        self.one.leave(ticket)
        self.arrived[ticket.alias_name].remove(ticket)
        self.one.wake()
        self.settle()

    @invariant()
    def holds(self) -> None:
        assert self.one.waiting == len(self.waiting) <= 4
        assert self.engines.busy == len(self.running) <= self.engines.slots
        for name, slots in SLOTS.items():
            busy = sum(one.alias_name == name for one in self.running)
            assert self.one.aliases[name].busy == busy
            assert not slots or busy <= slots
            waits = any(one.alias_name == name for one in self.waiting)
            assert not (waits and self.engines.busy < self.engines.slots and self.one.aliases[name].free)
            order = [one for one in self.engines.started if one.alias_name == name]
            assert order == self.arrived[name][: len(order)]


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=40, stateful_step_count=25)
