"""Numbered changes of the schema, applied in order, each with its way back.

A released migration never changes; the next change is the next number.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec


class Migration(msgspec.Struct, frozen=True):
    """One step of the schema."""

    number: int
    name: str
    up: Sequence[str]
    down: Sequence[str]


MIGRATIONS: tuple[Migration, ...] = (
    Migration(
        1,
        "where stored answers live",
        up=(
            "CREATE TABLE answers (id VARCHAR(200) PRIMARY KEY, backend VARCHAR(200) NOT NULL, made FLOAT NOT NULL)",
            "CREATE INDEX answers_made ON answers (made)",
        ),
        down=("DROP INDEX answers_made", "DROP TABLE answers"),
    ),
)
