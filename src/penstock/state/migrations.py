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
    Migration(
        2,
        "what operators change of an alias' path, and what they did",
        up=(
            "CREATE TABLE switches (alias VARCHAR(300) PRIMARY KEY, revision INTEGER NOT NULL, body TEXT NOT NULL)",
            (
                "CREATE TABLE events (id VARCHAR(40) PRIMARY KEY, made FLOAT NOT NULL, what VARCHAR(40) NOT NULL,"
                " alias VARCHAR(300) NOT NULL, who VARCHAR(200) NOT NULL, reason TEXT NOT NULL, detail TEXT NOT NULL)"
            ),
            "CREATE INDEX events_alias ON events (alias, id)",
        ),
        down=("DROP INDEX events_alias", "DROP TABLE events", "DROP TABLE switches"),
    ),
    Migration(
        3,
        "pairs of answers that shadows leave behind",
        up=(
            (
                "CREATE TABLE pairs (id VARCHAR(40) PRIMARY KEY, alias VARCHAR(300) NOT NULL, tenant VARCHAR(200) NOT NULL,"
                " made FLOAT NOT NULL, body TEXT NOT NULL)"
            ),
            "CREATE INDEX pairs_alias ON pairs (alias, id)",
        ),
        down=("DROP INDEX pairs_alias", "DROP TABLE pairs"),
    ),
    Migration(
        4,
        "whose a stored answer is: rows from before had the tenant in their id, and engines forget within hours",
        up=(
            "DROP INDEX answers_made",
            "DROP TABLE answers",
            (
                "CREATE TABLE answers (id VARCHAR(200) PRIMARY KEY, tenant VARCHAR(200) NOT NULL,"
                " backend VARCHAR(200) NOT NULL, made FLOAT NOT NULL)"
            ),
            "CREATE INDEX answers_made ON answers (made)",
        ),
        down=(
            "DROP INDEX answers_made",
            "DROP TABLE answers",
            "CREATE TABLE answers (id VARCHAR(200) PRIMARY KEY, backend VARCHAR(200) NOT NULL, made FLOAT NOT NULL)",
            "CREATE INDEX answers_made ON answers (made)",
        ),
    ),
    Migration(
        5,
        "keys that were made, and how often anything of them has changed",
        up=(
            (
                "CREATE TABLE keys (id VARCHAR(40) PRIMARY KEY, name VARCHAR(200) NOT NULL, tenant VARCHAR(200) NOT NULL,"
                " digest VARCHAR(64) NOT NULL UNIQUE, body TEXT NOT NULL, made FLOAT NOT NULL, expires FLOAT,"
                " revoked FLOAT, replaced_by VARCHAR(40) NOT NULL, changed INTEGER NOT NULL)"
            ),
            "CREATE INDEX keys_changed ON keys (changed)",
            "CREATE TABLE generations (name VARCHAR(40) PRIMARY KEY, number INTEGER NOT NULL)",
            "INSERT INTO generations (name, number) VALUES ('keys', 0)",
        ),
        down=("DROP TABLE generations", "DROP INDEX keys_changed", "DROP TABLE keys"),
    ),
    Migration(
        6,
        "what is taken of every limit, slots that are lent, and what was used",
        up=(
            (
                "CREATE TABLE budgets (holder VARCHAR(300) NOT NULL, kind VARCHAR(40) NOT NULL, period VARCHAR(10) NOT NULL,"
                " taken FLOAT NOT NULL, at FLOAT NOT NULL, PRIMARY KEY (holder, kind, period))"
            ),
            (
                "CREATE TABLE slots (holder VARCHAR(300) NOT NULL, process VARCHAR(60) NOT NULL, amount INTEGER NOT NULL,"
                " expires FLOAT NOT NULL, PRIMARY KEY (holder, process))"
            ),
            (
                "CREATE TABLE used (day VARCHAR(10) NOT NULL, tenant VARCHAR(200) NOT NULL, key_id VARCHAR(200) NOT NULL,"
                " requests BIGINT NOT NULL, refused BIGINT NOT NULL, prompt_tokens BIGINT NOT NULL,"
                " completion_tokens BIGINT NOT NULL, PRIMARY KEY (day, tenant, key_id))"
            ),
        ),
        down=("DROP TABLE used", "DROP TABLE slots", "DROP TABLE budgets"),
    ),
)
