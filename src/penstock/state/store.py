"""The database of one gateway: opened, brought to the newest schema, and asked in short blocking calls.

Nothing here runs on the event loop; callers use a thread of their own. Several processes on one machine may share the
file (WAL). Parts that keep something add a migration and a few functions beside these.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from penstock.errors import ConfigError
from penstock.state.migrations import MIGRATIONS, Migration

BUSY = 5.0
"""Seconds to wait for another process that is writing."""
KEPT = 30 * 24 * 3600.0
"""Seconds after which the place of a stored answer is forgotten; engines forget the answer itself much sooner."""


class Store:
    """One open database."""

    def __init__(self, url: str) -> None:
        parsed = make_url(url)
        if parsed.get_backend_name() == "sqlite" and parsed.database:
            _make_folder(Path(parsed.database).parent)
        arguments = {"timeout": BUSY} if parsed.get_backend_name() == "sqlite" else {}
        self._engine: Engine = create_engine(parsed, connect_args=arguments, pool_size=2, max_overflow=2)
        if parsed.get_backend_name() == "sqlite":
            event.listen(self._engine, "connect", _pragmas)
        try:
            self._open()
        except SQLAlchemyError as error:
            msg = f"Opening the state at {parsed.render_as_string(hide_password=True)}: {error.__cause__ or error}"
            raise ConfigError(msg, hint="`state` in penstock.yaml names it; the folder must be writable.") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the connections back."""
        self._engine.dispose()

    # ── schema ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _open(self) -> None:
        # While another process turns a new file to WAL, SQLite answers "locked" at once, whatever the timeout says.
        last = time.monotonic() + BUSY
        while True:
            try:
                self.migrate()
            except OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > last:
                    raise
                time.sleep(0.02)
            else:
                return

    def version(self) -> int:
        """The newest migration that has been applied; 0 for an empty database."""
        with self._engine.begin() as connection:
            return _version(connection)

    def migrate(self, to: int | None = None) -> None:
        """Bring the schema to a version, forwards or back; each step is one transaction."""
        wanted = MIGRATIONS[-1].number if to is None else to
        with self._engine.begin() as connection:
            if connection.dialect.name == "sqlite":
                # Several workers start at once: the first takes the write lock before it looks at the version.
                connection.execute(text("CREATE TABLE IF NOT EXISTS penstock_lock (one INTEGER)"))
                connection.execute(text("DELETE FROM penstock_lock"))
            connection.execute(
                text("CREATE TABLE IF NOT EXISTS migrations (number INTEGER PRIMARY KEY, name VARCHAR(200) NOT NULL)")
            )
            at = _version(connection)
            for migration in MIGRATIONS:
                if at < migration.number <= wanted:
                    _apply(connection, migration)
            for migration in reversed(MIGRATIONS):
                if wanted < migration.number <= at:
                    _revert(connection, migration)

    # ── where stored answers live ────────────────────────────────────────────────────────────────────────────────────

    def put_answers(self, places: list[tuple[str, str, str]]) -> None:
        """Remember tenant and backend of each answer id; one that another tenant has already stays as it is."""
        now = time.time()
        rows = [
            {"id": answer[:200], "tenant": tenant[:200], "backend": backend, "made": now}
            for answer, tenant, backend in places
        ]
        with self.begin("Writing where answers live") as connection:
            connection.execute(
                text(
                    "INSERT INTO answers (id, tenant, backend, made) VALUES (:id, :tenant, :backend, :made)"
                    " ON CONFLICT (id) DO UPDATE SET backend = excluded.backend, made = excluded.made"
                    " WHERE answers.tenant = excluded.tenant"
                ),
                rows,
            )
            connection.execute(text("DELETE FROM answers WHERE made < :old"), {"old": now - KEPT})

    def answer_place(self, answer: str) -> tuple[str, str] | None:
        """The tenant of an answer and the backend that made it, if they are remembered."""
        wanted = text("SELECT tenant, backend FROM answers WHERE id = :id")
        with self.begin("Looking up where an answer lives") as connection:
            row = connection.execute(wanted, {"id": answer[:200]}).first()
        return (str(row[0]), str(row[1])) if row is not None else None

    @contextmanager
    def begin(self, doing: str) -> Iterator[Connection]:
        """One transaction for the functions beside this file; `doing` begins the error of one that fails."""
        try:
            with self._engine.begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            msg = f"{doing}: {error.__cause__ or error}"
            raise ConfigError(msg, hint="Is the disk full, or the database of `state` locked or gone?") from error


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        msg = f"Making the folder of the state, {folder}: {error.strerror}"
        raise ConfigError(msg, hint="`state` in penstock.yaml names it; the folder must be writable.") from error


def _version(connection: Connection) -> int:
    try:
        with connection.begin_nested():
            found = connection.execute(text("SELECT MAX(number) FROM migrations")).scalar()
    except OperationalError:
        return 0
    return int(found or 0)


def _apply(connection: Connection, migration: Migration) -> None:
    for statement in migration.up:
        connection.execute(text(statement))
    connection.execute(
        text("INSERT INTO migrations (number, name) VALUES (:number, :name)"),
        {"number": migration.number, "name": migration.name},
    )


def _revert(connection: Connection, migration: Migration) -> None:
    for statement in migration.down:
        connection.execute(text(statement))
    connection.execute(text("DELETE FROM migrations WHERE number = :number"), {"number": migration.number})


def _pragmas(connection: object, record: object) -> None:
    del record
    cursor = connection.cursor()  # type: ignore[attr-defined]  # a DB-API connection, typed as object by the event
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.close()
