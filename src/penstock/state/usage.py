"""What each key and tenant has used, by UTC day: requests and tokens as the engines counted them. Blocking.

Processes add what they have seen since they last did. It is what `penstock usage` shows; what is left of a limit stands in
budgets.py.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from sqlalchemy import text

from penstock.state.row import Sum, Whose
from penstock.state.store import Store


class Used(msgspec.Struct, frozen=True):
    """What a key, or all keys of a tenant, used from a day on."""

    tenant: str
    key: str
    sum: Sum


_ADD = text(
    "INSERT INTO used (day, tenant, key_id, requests, refused, prompt_tokens, completion_tokens)"
    " VALUES (:day, :tenant, :key, :requests, :refused, :prompt_tokens, :completion_tokens)"
    " ON CONFLICT (day, tenant, key_id) DO UPDATE SET requests = used.requests + excluded.requests,"
    " refused = used.refused + excluded.refused, prompt_tokens = used.prompt_tokens + excluded.prompt_tokens,"
    " completion_tokens = used.completion_tokens + excluded.completion_tokens"
)
_READ = text(
    "SELECT tenant, key_id, SUM(requests), SUM(refused), SUM(prompt_tokens), SUM(completion_tokens) FROM used"
    " WHERE day >= :since GROUP BY tenant, key_id ORDER BY tenant, key_id"
)


class Usage:
    """The table in an open database."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def add(self, rows: Iterable[tuple[Whose, Sum]]) -> None:
        """Add what a process has seen."""
        values = [
            {**msgspec.structs.asdict(whose), **msgspec.structs.asdict(one)}
            for whose, one in sorted(rows, key=lambda row: msgspec.structs.astuple(row[0]))
        ]
        if not values:
            return
        with self._store.begin("Writing what was used") as connection:
            for one in values:
                connection.execute(_ADD, one)

    def since(self, day: str) -> list[Used]:
        """By tenant and key, from this day on."""
        with self._store.begin("Reading what was used") as connection:
            rows = connection.execute(_READ, {"since": day}).all()
        return [Used(str(tenant), str(key), Sum(*(int(one) for one in sums))) for tenant, key, *sums in rows]
