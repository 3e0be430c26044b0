"""The table of pairs: what shadows leave behind, bounded for each alias. Blocking, like everything in this package.

A pair's body is a line of JSON that this file does not read; agreement/pair.py knows its form.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from sqlalchemy import text

from penstock.state.store import Store


class Row(NamedTuple):
    """One pair as it is kept."""

    alias: str
    tenant: str
    """Whose request it was: who is forgotten takes the pairs along."""
    made: float
    """Unix time."""
    body: str


class Pairs:
    """The table in an open database."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def keep(self, row: Row, most: int) -> None:
        """Write one pair; of its alias no more than `most` stay, the newest."""
        # By time, with something that two processes at the same moment do not share.
        id_ = f"{int(row.made * 1e6):016x}-{os.urandom(6).hex()}"
        with self._store.begin("Writing a shadow's pair") as connection:
            connection.execute(
                text("INSERT INTO pairs (id, alias, tenant, made, body) VALUES (:id, :alias, :tenant, :made, :body)"),
                {"id": id_, **row._asdict()},
            )
            connection.execute(
                text(
                    "DELETE FROM pairs WHERE alias = :alias AND id <= "
                    "(SELECT id FROM pairs WHERE alias = :alias ORDER BY id DESC LIMIT 1 OFFSET :most)"
                ),
                {"alias": row.alias, "most": most},
            )

    def read(self, alias: str) -> list[str]:
        """The bodies of all pairs of an alias, the oldest first."""
        with self._store.begin("Reading the pairs of a shadow") as connection:
            rows = connection.execute(text("SELECT body FROM pairs WHERE alias = :alias ORDER BY id"), {"alias": alias})
            return [str(row[0]) for row in rows]

    def counts(self) -> dict[str, int]:
        """How many pairs there are of each alias."""
        with self._store.begin("Counting the pairs of shadows") as connection:
            rows = connection.execute(text("SELECT alias, COUNT(*) FROM pairs GROUP BY alias ORDER BY alias"))
            return {str(row[0]): int(row[1]) for row in rows}

    def forget(self, alias: str) -> int:
        """Drop all pairs of an alias, as before a new comparison; how many there were."""
        with self._store.begin("Forgetting the pairs of a shadow") as connection:
            return connection.execute(text("DELETE FROM pairs WHERE alias = :alias"), {"alias": alias}).rowcount
