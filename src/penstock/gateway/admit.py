"""Slots and the queue in front of them. Knows no clock and no task: the line tells it what is free and who left.

A ticket that finds no free backend waits in order of arrival; a released slot goes to the oldest ticket that can use
it. The queue is bounded; who leaves it frees its place at once.
"""

from __future__ import annotations

from collections import deque
from typing import Protocol

from penstock.errors import Overloaded


class Ticket(Protocol):
    """A request that wants to go."""

    alias_name: str

    def try_start(self) -> bool:
        """Start if a candidate has a free slot; whether it did (or no longer needs to)."""


class Alias:
    """Slots of one alias; 0 is no limit of its own."""

    __slots__ = ("busy", "queue", "slots")

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.busy = 0
        self.queue: deque[tuple[int, Ticket]] = deque()
        """Waiting tickets, each with its place in the order of arrival among all aliases."""

    @property
    def free(self) -> bool:
        """Whether one more may run."""
        return not self.slots or self.busy < self.slots


class Admission:
    """All queues of one process."""

    def __init__(self) -> None:
        self.aliases: dict[str, Alias] = {}
        self._limit = 0
        self._arrivals = 0
        self._waking = self._released = False
        self.waiting = 0

    def reshape(self, slots: dict[str, int], queue: int) -> None:
        """Take limits, at first or anew; running and waiting requests stay where they are."""
        self._limit = queue
        for name, limit in slots.items():
            self.aliases.setdefault(name, Alias(limit)).slots = limit
        self.wake()

    def enter(self, ticket: Ticket) -> bool:
        """Start the ticket or queue it; True when it started. `Overloaded` when the queue is full."""
        alias = self.aliases[ticket.alias_name]
        if not alias.queue and alias.free and ticket.try_start():
            return True
        if self.waiting >= self._limit:
            msg = f"All slots for {ticket.alias_name!r} are taken and {self.waiting} requests wait already."
            raise Overloaded(msg, hint="Try again in a moment.", retry_after=1)
        self._arrivals += 1
        alias.queue.append((self._arrivals, ticket))
        self.waiting += 1
        return False

    def leave(self, ticket: Ticket) -> None:
        """The client of a waiting ticket left, or its deadline passed."""
        queue = self.aliases[ticket.alias_name].queue
        for at, (_, waiting) in enumerate(queue):
            if waiting is ticket:
                del queue[at]
                self.waiting -= 1
                return

    def wake(self) -> None:
        """Something was released: let waiting tickets try in order of arrival, so that no alias starves another.

        A ticket that finds nothing free for it holds back only its own alias.
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

    def _let_go(self) -> None:
        hopeful = [alias for alias in self.aliases.values() if alias.queue]
        while hopeful:
            alias = min(hopeful, key=_head)
            if alias.free and self._start_head(alias):
                hopeful = [one for one in hopeful if one.queue]
            else:
                hopeful.remove(alias)

    def _start_head(self, alias: Alias) -> bool:
        place, ticket = alias.queue.popleft()
        self.waiting -= 1
        if ticket.try_start():
            return True
        alias.queue.appendleft((place, ticket))
        self.waiting += 1
        return False


def _head(alias: Alias) -> int:
    return alias.queue[0][0]
