"""Slots and queue, driven by tickets that record whether they run."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from penstock.errors import Overloaded
from penstock.gateway.admit import SPREAD, Admission
from penstock.protocols.dialect import Call
from penstock.types import LOCAL, Caller, Face, Operation


def call(size: int = 0) -> Call:
    return Call(Operation.CHAT, Face.OPENAI, "/v1/chat/completions", b" " * size, "application/json", "m", stream=False)


class Engines:
    """How many requests all backends together take."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.busy = 0
        self.started: list[Asking] = []


class Asking:
    """A request: it starts where the engines have room, and counts itself into its alias as the line does."""

    def __init__(
        self, admission: Admission, engines: Engines, alias_name: str = "a", tenant: str = "local", size: int = 0
    ) -> None:
        self.admission = admission
        self.engines = engines
        self.alias_name = alias_name
        self.caller = Caller("somebody", tenant)
        self.call = call(size)
        self.refused: Overloaded | None = None

    def try_start(self) -> bool:
        if self.engines.busy >= self.engines.slots:
            return False
        self.engines.busy += 1
        self.admission.aliases[self.alias_name].busy += 1
        self.engines.started.append(self)
        return True

    def shed(self, error: Overloaded) -> None:
        self.refused = error

    def end(self, tokens: int = 0) -> None:
        self.engines.busy -= 1
        self.admission.aliases[self.alias_name].busy -= 1
        if self.admission.waiting:
            self.admission.ended(self.caller.tenant, tokens)


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
    caller = LOCAL
    call = call()

    def __init__(self, admission: Admission, ended: list[Brief]) -> None:
        self.admission = admission
        self.ended = ended

    def try_start(self) -> bool:
        self.ended.append(self)
        self.admission.wake()
        return True

    def shed(self, error: Overloaded) -> None:
        raise error


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


def order(engines: Engines) -> str:
    """Whose requests were started, one letter each."""
    return "".join(one.caller.tenant for one in engines.started)


def served(engines: Engines) -> None:
    """One after the other, until nobody waits."""
    for ticket in engines.started:  # grows while it is walked
        ticket.end()


def flooded(queue: int = 100, flood: int = 20, **slots: int) -> tuple[Admission, Engines]:
    """X holds the only slot, and `flood` of its requests wait."""
    one, engines = admission(queue, **slots), Engines(1)
    for _ in range(flood + 1):
        one.enter(Asking(one, engines, tenant="X"))
    return one, engines


def test_tenants_take_turns_and_inside_one_the_first_goes_first() -> None:
    one, engines = flooded(flood=5)
    mine = [Asking(one, engines, tenant="Y") for _ in range(3)]
    for ticket in mine:
        one.enter(ticket)
    served(engines)
    assert order(engines) == "XXYXYXYXX"
    assert [ticket for ticket in engines.started if ticket.caller.tenant == "Y"] == mine


def test_who_floods_one_alias_does_not_hold_up_another_tenant_at_a_second_one() -> None:
    """Two aliases over the same engine: the order of arrival alone would serve the flood first."""
    one, engines = flooded(a=0, b=0)
    one.enter(Asking(one, engines, "b", tenant="Y"))
    served(engines)
    assert order(engines).index("Y") <= 2


def test_a_long_prompt_is_paid_for_and_does_not_block_small_ones() -> None:
    """X sends prompts of 100,000 tokens, Y small ones; X comes again after Y had as much."""
    one, engines = admission(200), Engines(1)
    for _ in range(4):
        one.enter(Asking(one, engines, tenant="X", size=400_000))
    for _ in range(60):
        one.enter(Asking(one, engines, tenant="Y", size=4096))
    served(engines)
    started = order(engines)
    assert started[:2] == "XX"
    assert started[2:18] == "Y" * 16
    assert started.count("X") == 4


def test_what_was_generated_counts_too() -> None:
    one, engines = flooded()
    for _ in range(20):
        one.enter(Asking(one, engines, tenant="Y"))
    for ticket in engines.started:
        ticket.end(tokens=2000 if ticket.caller.tenant == "X" else 100)
    first = order(engines)[:20]
    assert first.count("Y") > 2 * first.count("X")


def test_staying_away_saves_up_no_turns() -> None:
    """Y comes when X was served many times: it is next, once, and from then on they take turns."""
    one, engines = flooded(flood=60)
    for _ in range(30):
        engines.started[-1].end()
    for _ in range(10):
        one.enter(Asking(one, engines, tenant="Y"))
    before = len(engines.started)
    served(engines)
    assert order(engines)[before : before + 8] in {"XYXYXYXY", "YXYXYXYX"}


def test_a_full_queue_makes_room_for_who_has_less_of_it() -> None:
    """The newest of the largest gives way, with words and a time to come back; nobody loses a place to an equal."""
    one, engines = flooded(queue=4, flood=4)
    held = [ticket for _, ticket in one.aliases["a"].rows["X"]]
    mine = [Asking(one, engines, tenant="Y") for _ in range(3)]
    one.enter(mine[0])
    one.enter(mine[1])
    refused = [getattr(ticket, "refused", None) for ticket in held]
    assert refused[:2] == [None, None]
    assert all(error is not None and "another tenant" in error.message and error.retry_after for error in refused[2:])
    for late in (mine[2], Asking(one, engines, tenant="X")):
        with pytest.raises(Overloaded, match="4 requests wait already"):
            one.enter(late)
    assert one.tenants == {"X": 2, "Y": 2}
    assert dict(one.depths()) == {("X",): 2.0, ("Y",): 2.0}


def test_who_is_refused_together_is_not_told_to_come_back_together() -> None:
    one, engines = flooded(queue=1, flood=1)
    told = []
    for _ in range(2 * SPREAD):
        with pytest.raises(Overloaded) as error:
            one.enter(Asking(one, engines, tenant="X"))
        told.append(error.value.retry_after)
    assert told == [*range(1, SPREAD + 1)] * 2


def test_figures_of_many_tenants_are_few() -> None:
    one, engines = admission(1000), Engines(0)
    for number in range(300):
        for _ in range(2 if number < 5 else 1):
            one.enter(Asking(one, engines, tenant=f"t{number}"))
    depths = dict(one.depths())
    assert len(depths) == 21
    assert sum(depths.values()) == one.waiting == 305
    assert depths["t0",] == 2.0


class Bound(Asking):
    """A request that only one engine can take, as one that continues a stored answer."""

    def try_start(self) -> bool:
        return False


def test_a_row_that_cannot_go_on_holds_up_no_other_tenant() -> None:
    one, engines = admission(), Engines(1)
    one.enter(Bound(one, engines, tenant="X"))
    assert one.enter(Asking(one, engines, tenant="Y"))
    assert one.waiting == 1


SLOTS = {"a": 2, "b": 0, "c": 1}
TENANTS = ["X", "Y", "Z"]
PLACES = 6


class Life(RuleBasedStateMachine):
    """Any order of arrivals, ends and departures."""

    def __init__(self) -> None:
        super().__init__()
        self.engines = Engines(3)
        self.one = admission(queue=PLACES, **SLOTS)
        self.arrived: dict[tuple[str, str], list[Asking]] = {}
        self.waiting: list[Asking] = []
        self.running: list[Asking] = []

    def settle(self) -> None:
        for gone in [one for one in self.waiting if one.refused is not None]:
            self.arrived[gone.alias_name, gone.caller.tenant].remove(gone)
            self.waiting.remove(gone)
        self.running += [one for one in self.waiting if one in self.engines.started]
        self.waiting = [one for one in self.waiting if one not in self.engines.started]

    @rule(
        name=st.sampled_from(sorted(SLOTS)), tenant=st.sampled_from(TENANTS), size=st.sampled_from([0, 9_000, 500_000])
    )
    def arrives(self, name: str, tenant: str, size: int) -> None:
        ticket = Asking(self.one, self.engines, name, tenant, size)
        before = {one: sum(ticket.caller.tenant == one for ticket in self.waiting) for one in TENANTS}
        try:
            started = self.one.enter(ticket)
        except Overloaded:
            assert len(self.waiting) == PLACES
            assert max(before.values()) <= before[tenant] + 1
            return
        self.arrived.setdefault((name, tenant), []).append(ticket)
        (self.running if started else self.waiting).append(ticket)
        self.settle()

    @precondition(lambda self: self.running)
    @rule(data=st.data(), tokens=st.sampled_from([0, 10, 100_000]))
    def ends(self, data: st.DataObject, tokens: int) -> None:
        ticket = self.running.pop(data.draw(st.integers(0, len(self.running) - 1)))
        ticket.end(tokens)
        self.settle()

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def leaves(self, data: st.DataObject) -> None:
        ticket = self.waiting.pop(data.draw(st.integers(0, len(self.waiting) - 1)))
        self.one.leave(ticket)
        self.arrived[ticket.alias_name, ticket.caller.tenant].remove(ticket)
        self.one.wake()
        self.settle()

    @invariant()
    def holds(self) -> None:
        """Bounded, nothing lost or doubled, no slot free for somebody who waits, order inside a tenant and alias."""
        assert self.one.waiting == len(self.waiting) <= PLACES
        counted = {one: sum(ticket.caller.tenant == one for ticket in self.waiting) for one in TENANTS}
        assert self.one.tenants == {one: count for one, count in counted.items() if count}
        assert self.engines.busy == len(self.running) <= self.engines.slots
        assert len(set(map(id, self.engines.started))) == len(self.engines.started)
        for name, slots in SLOTS.items():
            busy = sum(one.alias_name == name for one in self.running)
            assert self.one.aliases[name].busy == busy
            assert not slots or busy <= slots
            waits = any(one.alias_name == name for one in self.waiting)
            assert not (waits and self.engines.busy < self.engines.slots and self.one.aliases[name].free)
            for tenant in TENANTS:
                arrived = self.arrived.get((name, tenant), [])
                started = [one for one in self.engines.started if (one.alias_name, one.caller.tenant) == (name, tenant)]
                assert started == arrived[: len(started)]


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=40, stateful_step_count=25)
