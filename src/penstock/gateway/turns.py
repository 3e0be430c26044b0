"""Whose turn it is: shares of the engines between tenants that wait for them at the same time, pure.

Every tenant has an account of what was started and generated for it while somebody waited. The one with the smallest goes
next and is charged; a tenant that comes anew begins where the one served last stands, so that nobody saves up turns by
staying away. Debt has a bound, and with it how many requests of others may go before anybody's next one. No clock, no
queue and no request here: admit.py has those.
"""

from __future__ import annotations

from heapq import nlargest

SMALLEST = 4 * 1024
"""Cost of a request without a prompt, in bytes of prompt: it holds its slot while it is answered."""
LARGEST = 128 * 1024
"""The most that one request, or one answer, costs: what is longer is mostly pictures and sound."""
TOKEN = 8
"""Cost of a generated token: a prompt's has about four bytes, and one that is written costs an engine twice as much as one that is read."""
DEBT = 2 * LARGEST
"""How far an account may be ahead of those who wait."""
KEPT = 1024
"""Accounts remembered of tenants that may not even wait now."""


def cost_of(size: int) -> int:
    """What a request with a body of `size` bytes costs."""
    return min(SMALLEST + size, LARGEST)


class Turns:
    """The accounts of one process, for as long as somebody waits."""

    __slots__ = ("_now", "_spent")

    def __init__(self) -> None:
        self._spent: dict[str, int] = {}
        self._now = 0
        """The account of whoever was started last: where a newcomer's begins."""

    def spent(self, tenant: str) -> int:
        """What the order goes by: the smallest is next."""
        return self._spent.get(tenant, self._now)

    def comes(self, tenant: str) -> None:
        """It begins to wait."""
        if self._spent.get(tenant, -1) < self._now:
            self._spent[tenant] = self._now
        if len(self._spent) > KEPT:
            self._forget()

    def started(self, tenant: str, cost: int) -> None:
        """It was its turn."""
        self._now = max(self._now, self.spent(tenant))
        self.charge(tenant, cost)

    def charge(self, tenant: str, cost: int) -> None:
        """Something was started or generated for it, whether or not it waits."""
        self._spent[tenant] = min(max(self.spent(tenant), self._now) + min(cost, LARGEST), self._now + DEBT)

    def clear(self) -> None:
        """Nobody waits any more: who comes next finds room, and owes nothing."""
        self._spent.clear()
        self._now = 0

    def _forget(self) -> None:
        # who owes nothing is where a newcomer would be; of the others the largest debts are those that matter
        owing = nlargest(KEPT // 2, ((spent, name) for name, spent in self._spent.items() if spent > self._now))
        self._spent = {name: spent for spent, name in owing}
