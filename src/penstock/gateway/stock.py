"""Leases of limits in one process: asked of the state ahead of need, and given back when nobody uses them.

Everything here happens on the loop; the state is asked by the keeper's thread. Who waits for a lease is quotas.py's affair.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from penstock.gateway.quota import Book, Lease, Limit, Unit, limits_of
from penstock.state.row import Grant, Want
from penstock.types import KeyLimits

if TYPE_CHECKING:
    from penstock.gateway.keeper import Keeper
    from penstock.gateway.metrics import Metrics

IDLE = 5.0
"""Seconds after which a stock that nobody used is given back."""
SLOTS_IDLE = 0.1
"""The same for slots: other processes may be waiting for them."""
HOLD, MARGIN = 10.0, 2.0
"""Seconds for which the state lends slots, and how much sooner we stop to count on them."""
RENEW = 3.0
"""Seconds between two renewals of slots."""

Lack = tuple[Lease, int, int]
"""A lease, the least it needs and the most that is of use."""


class Stock:
    """Of one process. `told` is called when the state has answered: with the leases it gave nothing of, and whether it did answer."""

    def __init__(self, keeper: Keeper, metrics: Metrics, told: Callable[[set[int], bool], None]) -> None:
        self._keeper = keeper
        self._metrics = metrics
        self._told_others = told
        self._leases: dict[tuple[str, str], Lease] = {}
        self.old: list[Lease] = []
        """Of periods that are over, with requests under way that reserved from them."""
        self.active: set[Book] = set()
        """Books of which something is taken, reserved or owed."""
        self.slots: set[Lease] = set()
        """Leases of slots of which the same is true."""
        self._renewed = 0.0
        self._renewing = False
        self._closed = False

    def book(self, limits: Sequence[Limit]) -> Book:
        """A book of these limits, as they are now."""
        wall = time.time()
        return Book(limits, [self._lease(limit, wall) for limit in limits])

    def _lease(self, limit: Limit, wall: float) -> Lease:
        found = self._leases.get((limit.holder, limit.kind))
        if found is None or found.ends <= wall:
            if found is not None:
                self.old.append(found)
            found = self._leases[limit.holder, limit.kind] = Lease(limit, wall)
        if found.limit is not limit:
            found.take_limit(limit)
        return found

    def take(self, lacking: Sequence[Lack]) -> None:
        """Ask the state; `told` hears of the answer."""
        if not lacking:
            return
        wants = []
        for lease, least, most in lacking:
            limit = lease.limit
            lease.asked = True
            if limit.unit is Unit.SLOTS:
                self.slots.add(lease)
            stock = limit.stock if limit.unit is not Unit.SLOTS else 0
            slots = limit.unit is Unit.SLOTS
            have = lease.free + lease.held if slots else 0
            wants.append(Want(lease.row, limit.most, least, most + stock, limit.rate, slots, have))
        leases = [lease for lease, _, _ in lacking]
        self._keeper.take(wants, partial(self._told, leases, time.monotonic()))

    def _told(self, leases: Sequence[Lease], asked: float, grants: Sequence[Grant] | None) -> None:
        """The state has answered, or not."""
        now = time.monotonic()
        denied: set[int] = set()
        for index, lease in enumerate(leases):
            lease.asked = False
            if grants is None:
                self._metrics.count("penstock_quota_leases", "failed")
                continue
            grant = grants[index]
            lease.granted(grant.granted, grant.left, now)
            if lease.limit.unit is Unit.SLOTS and grant.granted:
                lease.until = asked + HOLD - MARGIN
            if not grant.granted:
                denied.add(id(lease))
            self._metrics.count("penstock_quota_leases", "granted" if grant.granted else "denied")
        if self._closed:
            self.give_all_back()
        else:
            self._told_others(denied, grants is not None)

    def look(self, now: float) -> None:
        """Give back what nobody uses, charge what is owed, and refill what is used."""
        self.old = [lease for lease in self.old if self._settled(lease)]
        lacking: list[Lack] = []
        for book in list(self.active):
            busy = False
            for lease in book.leases:
                limit = lease.limit
                if owed := lease.debt():
                    self._keeper.change(lease.row, owed)
                if limit.unit is Unit.SLOTS:
                    busy = busy or bool(lease.held)
                elif now >= lease.touched + IDLE and not lease.asked:
                    self._give_back(lease)
                    busy = busy or bool(lease.held)
                else:
                    busy = True
                    if lease.free * 4 < limit.stock and not lease.asked:
                        lacking.append((lease, 1, -lease.free))
                        lease.asked = True
            if not busy:
                self.active.discard(book)
        self.take(lacking)

    def _settled(self, lease: Lease) -> bool:
        """Of a period that is over: whether somebody still holds something of it."""
        if owed := lease.debt():
            self._keeper.change(lease.row, owed)
        self._give_back(lease)
        return bool(lease.held or lease.asked)

    def _give_back(self, lease: Lease) -> None:
        if not lease.free:
            return
        if lease.limit.unit is Unit.SLOTS:
            lease.spare()
            self._keeper.keep_slots(lease.limit.holder, lease.held)
        else:
            self._keeper.change(lease.row, -lease.spare())

    def forget(self) -> None:
        """Leases that nobody has anything of."""
        used = {id(lease) for book in self.active for lease in book.leases}
        self._leases = {place: one for place, one in self._leases.items() if id(one) in used}

    def keep_slots(self, now: float) -> None:
        """Free slots go back at once, so that other processes can have them; those in use are kept."""
        for lease in list(self.slots):
            if lease.free and not lease.asked and now >= lease.touched + SLOTS_IDLE:
                self._give_back(lease)
            if not lease.held and not lease.free and not lease.asked:
                self.slots.discard(lease)
        if self.slots and not self._renewing and now >= self._renewed + RENEW:
            self._renewing, self._renewed = True, now
            held = {lease.limit.holder: lease.free + lease.held for lease in self.slots if not lease.asked}
            if held:
                self._keeper.renew(held, partial(self._kept, now))
            else:
                self._renewing = False

    def _kept(self, asked: float, mine: Mapping[str, int] | None) -> None:
        self._renewing = False
        if mine is None:
            return
        for lease in self.slots:
            if lease.limit.holder not in mine:
                if not lease.asked:
                    lease.free = 0
                continue
            # What was given back meanwhile may still be in this figure: it only takes away.
            lease.free = min(lease.free, max(0, mine[lease.limit.holder] - lease.held))
            lease.until = asked + HOLD - MARGIN

    # ── the end ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def close(self) -> None:
        """Everything that is not spent goes back; what is granted from now on too."""
        self._closed = True
        self.give_all_back()

    def give_all_back(self) -> None:
        """Keep nothing but what requests under way have reserved."""
        for lease in (*self._leases.values(), *self.old):
            if owed := lease.debt():
                self._keeper.change(lease.row, owed)
            self._give_back(lease)


def limits(key: str, own: KeyLimits | None, tenant: str, budgets: Mapping[str, KeyLimits]) -> list[Limit]:
    """Those of a key and those of its tenant."""
    found = limits_of(f"key:{key}", own) if own is not None else []
    if tenant in budgets:
        found += limits_of(f"tenant:{tenant}", budgets[tenant])
    return found
