"""Slots and the queue in front of them. Knows no clock and no task: the line tells it what is free and who left.

A ticket that finds no free backend waits in a row of its tenant and alias, in order of arrival; a released slot goes to the
tenant whose turn it is (turns.py). The queue is bounded. Where it is full, the tenant that has most of it gives its
newest place to one that has fewer; who leaves frees its place at once.
"""

from __future__ import annotations

from collections import deque
from heapq import heapify, heappop, heappush, nlargest
from typing import Protocol

from penstock.errors import Overloaded
from penstock.gateway.turns import TOKEN, Turns, cost_of
from penstock.protocols.dialect import Call
from penstock.types import Caller

NAMED = 20
"""Tenants whose places are told apart; those of all others are told together."""
OTHERS = "other"
SPREAD = 8
"""Seconds over which those who are refused are asked to come back: common clients wait to the second as they are told."""

Row = deque[tuple[int, "Ticket"]]
"""Waiting tickets of one tenant for one alias, each with its place in the order of arrival among all."""


class Ticket(Protocol):
    """A request that wants to go."""

    alias_name: str
    caller: Caller
    call: Call

    def try_start(self) -> bool:
        """Start if a candidate has a free slot; whether it did (or no longer needs to)."""

    def shed(self, error: Overloaded) -> None:
        """It has no place any more."""


class Alias:
    """Slots of one alias; 0 is no limit of its own."""

    __slots__ = ("busy", "rows", "slots")

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.busy = 0
        self.rows: dict[str, Row] = {}
        """By tenant; none is empty."""

    @property
    def free(self) -> bool:
        """Whether one more may run."""
        return not self.slots or self.busy < self.slots


class Admission:
    """All queues of one process."""

    def __init__(self) -> None:
        self.aliases: dict[str, Alias] = {}
        self._limit = 0
        self._arrivals = self._refusals = 0
        self._waking = self._released = False
        self._turns = Turns()
        self.tenants: dict[str, int] = {}
        """Places taken by each tenant that waits."""
        self.waiting = 0

    def reshape(self, slots: dict[str, int], queue: int) -> None:
        """Take limits, at first or anew; running and waiting requests stay where they are."""
        self._limit = queue
        for name, limit in slots.items():
            self.aliases.setdefault(name, Alias(limit)).slots = limit
        self.wake()

    def enter(self, ticket: Ticket) -> bool:
        """Start the ticket or queue it; True when it started. `Overloaded` when it finds no place."""
        alias = self.aliases[ticket.alias_name]
        if not alias.rows and alias.free and ticket.try_start():
            if self.waiting:
                self._turns.charge(ticket.caller.tenant, cost_of(len(ticket.call.body)))
            return True
        giving = self._giving(ticket) if self.waiting >= self._limit else None
        self._arrivals += 1
        fresh = self._place(alias, ticket, self._arrivals)
        if giving is not None:
            # Not earlier: it may bring the next request of its connection in here.
            message = (
                f"All slots for {giving.alias_name!r} are taken, and this place in the queue goes to another tenant."
            )
            giving.shed(self.refusal(message))
        if not fresh or len(alias.rows) == 1:
            return False
        # Those who wait already may want other backends than this one does.
        self.wake()
        return not self._waits(alias, ticket)

    def leave(self, ticket: Ticket) -> None:
        """The client of a waiting ticket left, or its deadline passed."""
        alias, tenant = self.aliases[ticket.alias_name], ticket.caller.tenant
        row = alias.rows.get(tenant, ())
        for at, (_, waiting) in enumerate(row):
            if waiting is ticket:
                del alias.rows[tenant][at]
                self._gone(alias, tenant)
                self._settle()
                return

    def ended(self, tenant: str, tokens: int) -> None:
        """A slot was given back, after so many tokens were generated; told only while somebody waits."""
        self._turns.charge(tenant, TOKEN * tokens)
        self.wake()

    def wake(self) -> None:
        """Something was released: let waiting tickets try, the tenant first whose turn it is.

        A ticket that finds nothing free for it holds back only its own row.
        """
        self._released = True
        if self._waking:
            # A ticket that ended as soon as it started: the loop below goes round again, not one level deeper.
            return
        self._waking = True
        try:
            while self._released and self.waiting:
                self._released = False
                self._let_go()
        finally:
            self._waking = False
            self._settle()

    def refusal(self, message: str, *, soonest: int = 1) -> Overloaded:
        """For one without a place or out of time. Those who are refused together are not told to come back together."""
        later, self._refusals = self._refusals % SPREAD, self._refusals + 1
        return Overloaded(message, hint="Try again in a moment.", retry_after=soonest + later)

    def too_late(self, seconds: float) -> Overloaded:
        """For one that has waited as long as it may."""
        return self.refusal(f"Waiting for a slot: none came free within {seconds:g} s.", soonest=5)

    def depths(self) -> list[tuple[tuple[str, ...], float]]:
        """Places by tenant, of the largest by name."""
        named = nlargest(NAMED, self.tenants.items(), key=lambda one: one[1])
        rest = self.waiting - sum(count for _, count in named)
        return [((name,), float(count)) for name, count in [*named, (OTHERS, rest)] if count]

    def _let_go(self) -> None:
        turns = self._turns
        heads = [
            (turns.spent(tenant), row[0][0], alias, tenant)
            for alias in self.aliases.values()
            for tenant, row in alias.rows.items()
        ]
        heapify(heads)
        while heads:
            spent, arrival, alias, tenant = heappop(heads)
            row = alias.rows.get(tenant)
            if not row or not alias.free:
                continue
            now = (turns.spent(tenant), row[0][0])
            if now != (spent, arrival):
                # charged for a start elsewhere since
                heappush(heads, (*now, alias, tenant))
            elif self._start_head(alias, tenant, row) and (row := alias.rows.get(tenant)):
                heappush(heads, (turns.spent(tenant), row[0][0], alias, tenant))

    def _start_head(self, alias: Alias, tenant: str, row: Row) -> bool:
        arrival, ticket = row.popleft()
        cost = cost_of(len(ticket.call.body))
        self._gone(alias, tenant)
        if ticket.try_start():
            self._turns.started(tenant, cost)
            return True
        self._back(alias, tenant, (arrival, ticket))
        return False

    # ── places ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _place(self, alias: Alias, ticket: Ticket, arrival: int) -> bool:
        """Take one at the end; whether it is the first of its row."""
        tenant = ticket.caller.tenant
        if tenant not in self.tenants:
            self._turns.comes(tenant)
        row = alias.rows.setdefault(tenant, deque())
        row.append((arrival, ticket))
        self.tenants[tenant] = self.tenants.get(tenant, 0) + 1
        self.waiting += 1
        return len(row) == 1

    def _back(self, alias: Alias, tenant: str, place: tuple[int, Ticket]) -> None:
        alias.rows.setdefault(tenant, deque()).appendleft(place)
        self.tenants[tenant] = self.tenants.get(tenant, 0) + 1
        self.waiting += 1

    def _gone(self, alias: Alias, tenant: str) -> None:
        """One place of its row was taken out."""
        self.waiting -= 1
        self.tenants[tenant] -= 1
        if not self.tenants[tenant]:
            del self.tenants[tenant]
        if not alias.rows[tenant]:
            del alias.rows[tenant]

    def _giving(self, ticket: Ticket) -> Ticket | None:
        """Whoever gives its place, already out of the queue; raises where none has to."""
        most = max(self.tenants, key=self.tenants.__getitem__, default="")
        # with one place more than the newcomer it would only be turned round
        if self.tenants.get(most, 0) < self.tenants.get(ticket.caller.tenant, 0) + 2:
            message = f"All slots for {ticket.alias_name!r} are taken and {self.waiting} requests wait already."
            raise self.refusal(message)
        rows = [alias for alias in self.aliases.values() if most in alias.rows]
        alias = max(rows, key=lambda one: one.rows[most][-1][0])
        _, giving = alias.rows[most].pop()
        self._gone(alias, most)
        return giving

    def _waits(self, alias: Alias, ticket: Ticket) -> bool:
        return any(one is ticket for _, one in alias.rows.get(ticket.caller.tenant, ()))

    def _settle(self) -> None:
        if not self.waiting:
            self._turns.clear()
