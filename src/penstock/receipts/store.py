"""Where receipts and their salts are kept, apart from the log: what erasure deletes while the tree stays as it is.

One SQLite database beside the log. Its transaction is the moment in which a request gets its place: the place in the spool
up to which was read, the receipts of what was read, and the requests that are still open go in together or not at all. The
entries of the log are in here before they are in the log, so that the log can always catch up.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from penstock.errors import BadLog
from penstock.receipts.made import Made

NAME = "receipts.db"
BUSY = 10.0
"""Seconds to wait for another process that writes."""
_TABLES = """
CREATE TABLE IF NOT EXISTS receipt (place INTEGER PRIMARY KEY, entry BLOB NOT NULL, id TEXT, tenant TEXT, time INTEGER, salt BLOB, data BLOB, bodies BLOB);
CREATE INDEX IF NOT EXISTS receipt_id ON receipt (id, tenant);
CREATE INDEX IF NOT EXISTS receipt_tenant ON receipt (tenant, place) WHERE tenant IS NOT NULL;
CREATE TABLE IF NOT EXISTS spool (file TEXT PRIMARY KEY, place INTEGER NOT NULL, done INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS opened (file TEXT NOT NULL, number INTEGER NOT NULL, line BLOB NOT NULL, PRIMARY KEY (file, number)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS tenant (name TEXT PRIMARY KEY, secret BLOB NOT NULL) WITHOUT ROWID;
"""


class Kept(msgspec.Struct, frozen=True):
    """A receipt with what proves it."""

    place: int
    """Its index in the log."""
    tenant: str
    salt: bytes
    data: bytes
    bodies: bytes | None = None


class Progress(msgspec.Struct):
    """What one batch changes besides its receipts."""

    places: dict[str, int] = msgspec.field(default_factory=dict)
    """How far each spool file was read."""
    opened: list[tuple[str, int, bytes]] = msgspec.field(default_factory=list)
    closed: list[tuple[str, int]] = msgspec.field(default_factory=list)
    done: list[str] = msgspec.field(default_factory=list)
    """Files that will never say more."""


class Store:
    """One connection, of one thread. All methods raise `sqlite3.Error`."""

    def __init__(self, place: Path, *, write: bool = False) -> None:
        path = place / NAME
        if write:
            os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
        elif not path.exists():
            raise BadLog(
                f"Opening the receipts in {place}: there is no {NAME}.", hint="Has a gateway written any here?"
            )
        mode = "rw" if write else "ro"
        self._base = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode={mode}", uri=True, timeout=BUSY, isolation_level=None
        )
        if write:
            self._base.execute("PRAGMA journal_mode = WAL")
            # FULL: a transaction is on the disk when it is over, also after a power cut.
            self._base.execute("PRAGMA synchronous = FULL")
            self._base.execute("PRAGMA secure_delete = ON")
            self._base.executescript(_TABLES)

    def close(self) -> None:
        self._base.close()

    # ── written by the writer alone ──────────────────────────────────────────────────────────────────────────────────

    @property
    def size(self) -> int:
        """How many receipts have a place."""
        found = self._base.execute("SELECT max(place) FROM receipt").fetchone()[0]
        return 0 if found is None else int(found) + 1

    def add(self, receipts: Sequence[Made], bodies: Sequence[bytes | None], progress: Progress) -> int:
        """All of it or nothing; the place of the first."""
        base = self._base
        base.execute("BEGIN IMMEDIATE")
        try:
            begin = self.size
            base.executemany(
                "INSERT INTO receipt VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (begin + at, one.entry, one.id, one.tenant, one.time, one.salt, one.data, body)
                    for at, (one, body) in enumerate(zip(receipts, bodies, strict=True))
                ],
            )
            base.executemany(
                "INSERT INTO spool VALUES (?, ?, 0) ON CONFLICT (file) DO UPDATE SET place = excluded.place",
                progress.places.items(),
            )
            base.executemany("INSERT INTO opened VALUES (?, ?, ?)", progress.opened)
            base.executemany("DELETE FROM opened WHERE file = ? AND number = ?", progress.closed)
            base.executemany("UPDATE spool SET done = 1 WHERE file = ?", [(name,) for name in progress.done])
            base.execute("COMMIT")
        except BaseException:
            if base.in_transaction:
                base.execute("ROLLBACK")
            raise
        return begin

    def entries(self, begin: int, most: int) -> list[bytes]:
        """What the log holds from this place on."""
        rows = self._base.execute("SELECT entry FROM receipt WHERE place >= ? ORDER BY place LIMIT ?", (begin, most))
        return [row[0] for row in rows]

    def spooled(self) -> dict[str, tuple[int, bool]]:
        """How far each file was read, and whether it is done with."""
        return {name: (place, bool(done)) for name, place, done in self._base.execute("SELECT * FROM spool")}

    def opened(self) -> dict[tuple[str, int], bytes]:
        """Requests that were begun and not ended, as far as the spool was read."""
        return {(file, number): line for file, number, line in self._base.execute("SELECT * FROM opened")}

    def forget(self, files: Iterable[str]) -> None:
        """Spool files that are gone."""
        self._base.executemany("DELETE FROM spool WHERE file = ?", [(name,) for name in files])

    def secret(self, tenant: str, fresh: bytes) -> bytes:
        """The key of a tenant's bodies; the fresh one from now on where it has none."""
        self._base.execute("INSERT OR IGNORE INTO tenant VALUES (?, ?)", (tenant, fresh))
        found: bytes = self._base.execute("SELECT secret FROM tenant WHERE name = ?", (tenant,)).fetchone()[0]
        return found

    # ── erased ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def erase(self, tenant: str) -> int:
        """Delete a tenant's receipts, salts, bodies and key; how many receipts. The entries of the log stay."""
        self._base.execute("BEGIN IMMEDIATE")
        count = self._base.execute(f"{_ERASED} WHERE tenant = ?", (tenant,)).rowcount
        self._base.execute("DELETE FROM tenant WHERE name = ?", (tenant,))
        self._base.execute("COMMIT")
        self._scrub()
        return count

    def erase_before(self, time: int, width: int) -> int:
        """Delete whole tiles of receipts, `width` in each, that all arrived before this moment; how many."""
        first = self._base.execute("SELECT min(place) FROM receipt WHERE time >= ?", (time,)).fetchone()[0]
        end = (self.size if first is None else int(first)) // width * width
        count = self._base.execute(f"{_ERASED} WHERE place < ? AND data IS NOT NULL", (end,)).rowcount
        if count:
            self._scrub()
        return count

    def _scrub(self) -> None:
        # What was deleted is overwritten (secure_delete), and must not live on in the journal either.
        self._base.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    # ── read ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    def find(self, request: str, tenant: str | None = None) -> Kept | None:
        """The newest receipt of a request id, of this tenant where one is given."""
        where = "id = ?" + (" AND tenant = ?" if tenant is not None else "")
        values = (request,) if tenant is None else (request, tenant)
        row = self._base.execute(f"{_KEPT} WHERE {where} ORDER BY place DESC LIMIT 1", values).fetchone()
        return Kept(*row) if row is not None else None

    def at(self, place: int) -> Kept | None:
        row = self._base.execute(f"{_KEPT} WHERE place = ? AND data IS NOT NULL", (place,)).fetchone()
        return Kept(*row) if row is not None else None

    def all(self, tenant: str | None = None, begin: int = 0, end: int | None = None) -> Iterator[Kept]:
        """In the order of the log."""
        where, values = "place >= ? AND data IS NOT NULL", [begin]
        if end is not None:
            where, values = f"{where} AND place < ?", [*values, end]
        rows = self._base.execute(
            f"{_KEPT} WHERE {where}{' AND tenant = ?' if tenant is not None else ''} ORDER BY place",
            values if tenant is None else [*values, tenant],
        )
        return (Kept(*row) for row in rows)

    def secrets(self, tenant: str | None = None) -> dict[str, bytes]:
        """The keys of tenants' bodies."""
        rows = self._base.execute("SELECT name, secret FROM tenant WHERE ? IS NULL OR name = ?", (tenant, tenant))
        return dict(rows.fetchall())


_KEPT = "SELECT place, tenant, salt, data, bodies FROM receipt"
_ERASED = "UPDATE receipt SET id = NULL, tenant = NULL, time = NULL, salt = NULL, data = NULL, bodies = NULL"
