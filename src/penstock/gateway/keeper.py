"""The one thread that asks the state for budgets, gives them back, and writes what was used. Nobody on the loop waits for it.

Orders are collected and worked off together. What takes from a budget either comes back with an answer or, where the state
does not give one, with none; what gives back or adds is kept, summed up for each row, until the state takes it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

import msgspec
import structlog

from penstock.errors import ConfigError
from penstock.state.row import Grant, Row, Sum, Want, Whose

if TYPE_CHECKING:
    from penstock.state.store import Store

log = structlog.stdlib.get_logger("penstock.quota")

LATER = 1.0
"""Seconds until the state is offered again what it could not take."""
LAST = 3.0
"""Seconds at the end for what is still to be given back."""
BATCH = 256
"""Wants in one transaction."""

Told = Callable[[Sequence[Grant] | None], None]
Answer = TypeVar("Answer")


class _Take(msgspec.Struct):
    wants: Sequence[Want]
    then: Told


def _nobody(grants: Sequence[Grant] | None) -> None:
    """Who waits for no answer."""


class _Renewal(msgspec.Struct):
    held: dict[str, int]
    then: Callable[[dict[str, int] | None], None]


class Keeper:
    """Of one process, whose loop is the one that first asks for anything."""

    def __init__(self, store: Callable[[], Store]) -> None:
        self._store = store
        self._process = f"{os.getpid()}-{os.urandom(8).hex()}"
        self._loop: asyncio.AbstractEventLoop | None = None
        self._orders: deque[_Take | _Renewal] = deque()
        self._lock = threading.Lock()
        self._changes: dict[Row, int] = {}
        self._slots: dict[str, int] = {}
        self._used: dict[Whose, Sum] = {}
        self._wake = threading.Event()
        self._stop = False
        self._due = 0.0
        self._failing = False
        self.failures = 0
        """Times the state did not do what it was asked."""
        self._thread: threading.Thread | None = None

    # ── on the loop ──────────────────────────────────────────────────────────────────────────────────────────────────

    def take(self, wants: Sequence[Want], then: Told) -> None:
        """Ask for blocks; `then` is called on the loop."""
        self._orders.append(_Take(wants, then))
        self._begin()

    def warm(self) -> None:
        """Begin, and open the state."""
        self._orders.append(_Take((), _nobody))
        self._begin()

    def renew(self, held: dict[str, int], then: Callable[[dict[str, int] | None], None]) -> None:
        """Keep the slots that are lent to this process."""
        self._orders.append(_Renewal(held, then))
        self._begin()

    def change(self, row: Row, amount: int) -> None:
        """Give back (below 0) or charge."""
        with self._lock:
            self._changes[row] = self._changes.get(row, 0) + amount
        self._begin()

    def keep_slots(self, holder: str, amount: int) -> None:
        """Give slots back, but for so many."""
        with self._lock:
            self._slots[holder] = amount
        self._begin()

    def use(self, rows: dict[Whose, Sum]) -> None:
        """Write what was used."""
        with self._lock:
            for whose, one in rows.items():
                if whose in self._used:
                    self._used[whose].add(one)
                else:
                    self._used[whose] = one
        self._begin()

    def close(self) -> None:
        """Write and give back what is left, within three seconds."""
        if self._thread is not None:
            self._stop = True
            self._wake.set()
            self._thread.join(timeout=LAST)

    def _begin(self) -> None:
        if self._thread is None:
            self._loop = asyncio.get_running_loop()
            self._thread = threading.Thread(target=self._run, name="budgets", daemon=True)
            self._thread.start()
        self._wake.set()

    # ── in the thread ────────────────────────────────────────────────────────────────────────────────────────────────

    def _run(self) -> None:
        while not self._stop:
            self._wake.wait(LATER)
            self._wake.clear()
            self._round()
        self._due = 0.0
        self._round()

    def _round(self) -> None:
        orders = [self._orders.popleft() for _ in range(len(self._orders))]
        # What was given back before an order was given is done before it: slots are told in absolute numbers.
        if orders or time.monotonic() >= self._due:
            self._settle()
        takes: list[_Take] = []
        for order in orders:
            if isinstance(order, _Renewal):
                self._renewed(order)
            else:
                takes.append(order)
            if sum(len(one.wants) for one in takes) >= BATCH:
                self._take(takes)
                takes = []
        if takes:
            self._take(takes)

    def _take(self, takes: list[_Take]) -> None:
        from penstock.state.budgets import Budgets  # noqa: PLC0415 - with the database's library

        wants = [want for one in takes for want in one.wants]
        try:
            budgets = Budgets(self._store())
            plain = iter(budgets.take([want for want in wants if not want.slots]))
            grants = [budgets.take_slots(self._process, want) if want.slots else next(plain) for want in wants]
        except ConfigError as error:
            self._failed(error)
            for one in takes:
                self._tell(one.then, None)
            return
        self._well()
        at = 0
        for one in takes:
            self._tell(one.then, grants[at : at + len(one.wants)])
            at += len(one.wants)

    def _renewed(self, order: _Renewal) -> None:
        from penstock.state.budgets import Budgets  # noqa: PLC0415 - likewise

        try:
            mine = Budgets(self._store()).renew(self._process, order.held)
        except ConfigError as error:
            self._failed(error)
            self._tell(order.then, None)
        else:
            self._tell(order.then, mine)

    def _settle(self) -> None:
        with self._lock:
            changes, self._changes = self._changes, {}
            slots, self._slots = self._slots, {}
            used, self._used = self._used, {}
        if not (changes or slots or used):
            return
        from penstock.state.budgets import Budgets  # noqa: PLC0415 - likewise
        from penstock.state.usage import Usage  # noqa: PLC0415 - likewise

        try:
            store = self._store()
            budgets = Budgets(store)
            if changes:
                budgets.change([(row, amount) for row, amount in changes.items() if amount])
                changes = {}
            for holder, amount in slots.items():
                budgets.keep_slots(self._process, holder, amount)
            if used:
                Usage(store).add(used.items())
                used = {}
        except ConfigError as error:
            self._failed(error)
            self._due = time.monotonic() + LATER
            self._keep(changes, used)
        else:
            self._well()

    def _keep(self, changes: dict[Row, int], used: dict[Whose, Sum]) -> None:
        """For the next time; what has come since is added to it.

        What was to be given back is not: it may have been, and the answer lost, and twice would be more than there was. Slots
        are told anew with every renewal.
        """
        with self._lock:
            for row, amount in changes.items():
                if amount > 0:
                    self._changes[row] = self._changes.get(row, 0) + amount
            for whose, one in used.items():
                if whose in self._used:
                    one.add(self._used[whose])
                self._used[whose] = one

    def _tell(self, then: Callable[[Answer], None], what: Answer) -> None:
        if self._loop is None:
            return
        with contextlib.suppress(RuntimeError):  # the loop has ended, and with it whoever waited
            self._loop.call_soon_threadsafe(then, what)

    def _failed(self, error: ConfigError) -> None:
        self.failures += 1
        if not self._failing:
            log.error("budgets cannot be asked for: callers with limits are refused", problem=error.sentence())
        self._failing = True

    def _well(self) -> None:
        if self._failing:
            log.info("budgets can be asked for again")
        self._failing = False
