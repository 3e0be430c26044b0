"""What is left of every limit, for all processes of all gateways that share one database. Blocking, like everything here.

One row is one limit of one holder in one period. `taken` is what processes have taken and not given back; where a limit
comes back with time, it drains at `rate`, by the database's own clock, so that gateways need not agree on theirs. A process
takes a block in one conditional UPDATE and spends it without asking again. What a process that died had taken stays taken: it
cannot say any more what of it its clients got. Slots for requests at the same time are the exception: their lease ends
with its time, and what ran in a dead process runs no more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
from sqlalchemy import Connection, text

from penstock.state.row import Grant, Row, Want
from penstock.state.store import Store

HOLD = 10.0
"""Seconds for which slots are lent; a process that lives renews them in time."""

_CLOCKS = {
    # Both are read once the row or the file is locked: who waited for it would bring an old time otherwise.
    "sqlite": "((julianday('now') - 2440587.5) * 86400.0)",
    "postgresql": "CAST(EXTRACT(EPOCH FROM clock_timestamp()) AS FLOAT)",
}
_ROW = "holder = :holder AND kind = :kind AND period = :period"


class Budgets:
    """The tables of budgets and slots in an open database."""

    def __init__(self, store: Store, clock: str = "") -> None:
        self._store = store
        now = clock or _CLOCKS[store.dialect]
        drained = f"(taken - (CASE WHEN {now} > at THEN {now} - at ELSE 0 END) * CAST(:rate AS FLOAT))"
        drained = f"(CASE WHEN {drained} > 0 THEN {drained} ELSE 0 END)"
        self._now = now
        # The clock is one of the two above or a test's: no input of anybody's.
        self._take = text(
            f"UPDATE budgets SET taken = {drained} + :n, at = {now}"  # noqa: S608
            f" WHERE {_ROW} AND {drained} + :n <= :limit RETURNING taken"
        )
        # A clock that was set back would drain nothing until it is where it was.
        self._back = text(f"UPDATE budgets SET at = {now} WHERE {_ROW} AND at > {now} + 1")  # noqa: S608
        self._look = text(f"SELECT {drained} FROM budgets WHERE {_ROW}")  # noqa: S608
        self._new = text(
            "INSERT INTO budgets (holder, kind, period, taken, at)"  # noqa: S608
            f" VALUES (:holder, :kind, :period, 0, {now}) ON CONFLICT DO NOTHING"
        )
        self._change = text(
            "UPDATE budgets SET taken = CASE WHEN taken + :n > 0 THEN taken + :n ELSE 0 END"  # noqa: S608
            f" WHERE {_ROW}"
        )
        self._lock = text(f"UPDATE budgets SET at = {now} WHERE {_ROW}")  # noqa: S608

    def take(self, wants: Sequence[Want]) -> list[Grant]:
        """All of them in one transaction; each is granted as far as it fits, or not at all."""
        # In one order for everybody, so that no two wait for each other.
        order = sorted(range(len(wants)), key=lambda index: msgspec.structs.astuple(wants[index].row))
        found: dict[int, Grant] = {}
        with self._store.begin("Taking from budgets") as connection:
            for index in order:
                found[index] = self._taken(connection, wants[index])
        return [found[index] for index in range(len(wants))]

    def _taken(self, connection: Connection, want: Want) -> Grant:
        values = {**msgspec.structs.asdict(want.row), "rate": want.rate, "limit": float(want.limit)}
        for _ in range(2):
            for amount in dict.fromkeys((want.most, want.least)):
                taken = connection.execute(self._take, {**values, "n": float(amount)}).scalar()
                if taken is not None:
                    return Grant(amount, want.limit - float(taken))
            taken = connection.execute(self._look, {**msgspec.structs.asdict(want.row), "rate": want.rate}).scalar()
            if taken is not None:
                if want.rate:
                    connection.execute(self._back, msgspec.structs.asdict(want.row))
                return Grant(0, want.limit - float(taken))
            connection.execute(self._new, msgspec.structs.asdict(want.row))
        return Grant(0, 0.0)

    def change(self, changes: Sequence[tuple[Row, int]]) -> None:
        """Give back (below 0), or add what was used beyond what had been taken (above 0), whatever the limit is."""
        with self._store.begin("Settling budgets") as connection:
            for row, amount in sorted(changes, key=lambda one: msgspec.structs.astuple(one[0])):
                values = {**msgspec.structs.asdict(row), "n": float(amount)}
                if not connection.execute(self._change, values).rowcount and amount > 0:
                    connection.execute(self._new, msgspec.structs.asdict(row))
                    connection.execute(self._change, values)

    def taken(self, row: Row) -> float:
        """What is taken and not given back, as it stands in the row; 0 where there is none."""
        with self._store.begin("Reading a budget") as connection:
            found = connection.execute(self._look, {**msgspec.structs.asdict(row), "rate": 0.0}).scalar()
        return float(found or 0.0)

    def forget(self, before: str) -> None:
        """Drop the rows of periods that are over, older than this day (`2026-10-01`)."""
        with self._store.begin("Forgetting old budgets") as connection:
            connection.execute(
                text("DELETE FROM budgets WHERE period <> '' AND period < :before"), {"before": before[:7]}
            )

    # ── slots ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def take_slots(self, process: str, want: Want) -> Grant:
        """Slots for requests at the same time, lent for `HOLD` seconds."""
        row = msgspec.structs.asdict(want.row)
        holder = {"holder": want.row.holder}
        with self._store.begin("Taking slots") as connection:
            # Whoever wants slots of this holder now waits for us.
            if not connection.execute(self._lock, row).rowcount:
                connection.execute(self._new, row)
                connection.execute(self._lock, row)
            connection.execute(
                text(f"DELETE FROM slots WHERE holder = :holder AND expires < {self._now}"),  # noqa: S608
                holder,
            )
            others = connection.execute(
                text("SELECT SUM(amount) FROM slots WHERE holder = :holder AND process <> :process"),
                {**holder, "process": process},
            ).scalar()
            free = want.limit - int(others or 0) - want.have
            granted = min(want.most, free) if free >= want.least else 0
            if granted + want.have:
                connection.execute(
                    text(
                        "INSERT INTO slots (holder, process, amount, expires)"  # noqa: S608
                        f" VALUES (:holder, :process, :n, {self._now} + {HOLD}) ON CONFLICT (holder, process) DO UPDATE"
                        " SET amount = excluded.amount, expires = excluded.expires"
                    ),
                    {**holder, "process": process, "n": granted + want.have},
                )
        return Grant(granted, float(max(free - granted, 0)))

    def keep_slots(self, process: str, holder: str, amount: int) -> None:
        """Keep no more than these, and give the others back."""
        values = {"holder": holder, "process": process}
        mine = "holder = :holder AND process = :process"
        with self._store.begin("Giving slots back") as connection:
            if amount:
                connection.execute(
                    text(f"UPDATE slots SET amount = :n WHERE {mine} AND amount > :n"),  # noqa: S608
                    {**values, "n": amount},
                )
            else:
                connection.execute(text(f"DELETE FROM slots WHERE {mine}"), values)  # noqa: S608

    def renew(self, process: str, held: Mapping[str, int]) -> dict[str, int]:
        """Keep what this process counts on, by holder, for another `HOLD` seconds; what of it there still is.

        A process that stood still for longer has lost what others took in the meantime.
        """
        found: dict[str, int] = {}
        with self._store.begin("Renewing slots") as connection:
            for holder in sorted(held):
                amount = connection.execute(
                    text(
                        f"UPDATE slots SET expires = {self._now} + {HOLD},"  # noqa: S608
                        " amount = CASE WHEN amount > :n THEN :n ELSE amount END"
                        " WHERE holder = :holder AND process = :process RETURNING amount"
                    ),
                    {"holder": holder, "process": process, "n": held[holder]},
                ).scalar()
                if amount is not None:
                    found[holder] = int(amount)
        return found
