"""The database of one gateway or of several: opened, brought to the newest schema, and asked in short blocking calls.

Nothing here runs on the event loop; callers use a thread of their own. SQLite (WAL) is shared by processes of one machine,
PostgreSQL by gateways on several; the schema is the same. Parts that keep something add a migration and a few functions
beside these, in the SQL that both understand.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import URL, ExceptionContext, make_url
from sqlalchemy.exc import OperationalError, ProgrammingError, SQLAlchemyError

from penstock.errors import ConfigError
from penstock.state.migrations import MIGRATIONS, Migration

BUSY = 5.0
"""Seconds to wait for another process that is writing."""
_LOCK = 0x70656E73746F636B
"""Of everybody who migrates a PostgreSQL database: `penstock` as a number."""
KEPT = 30 * 24 * 3600.0
"""Seconds after which the place of a stored answer is forgotten; engines forget the answer itself much sooner."""


class Store:
    """One open database; `migrate=False` leaves its schema as it is."""

    def __init__(self, url: str, *, migrate: bool = True) -> None:
        parsed = make_url(url)
        self.dialect = parsed.get_backend_name()
        """`sqlite` or `postgresql`."""
        self._file: Path | None = None
        """SQLite's file: one that is gone is an error, not an empty database."""
        if self.dialect == "sqlite" and parsed.database:
            _make_folder(Path(parsed.database).parent)
            self._file = Path(parsed.database)
        self._engine: Engine = _engine(parsed)
        if self.dialect == "sqlite":
            event.listen(self._engine, "connect", _pragmas)
        try:
            if migrate:
                self._open()
            else:
                self.version()
            self._inode = self._file.stat().st_ino if self._file is not None else 0
        except (SQLAlchemyError, OSError) as error:
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
            # Several workers start at once: the first takes the write lock before it looks at the version.
            if self.dialect == "sqlite":
                connection.execute(text("CREATE TABLE IF NOT EXISTS penstock_lock (one INTEGER)"))
                connection.execute(text("DELETE FROM penstock_lock"))
            else:
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
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
            self._look(doing)
            with self._engine.begin() as connection:
                yield connection
        except (SQLAlchemyError, OSError) as error:
            raise _told(doing, error) from error

    @contextmanager
    def snapshot(self, doing: str) -> Iterator[Connection]:
        """One transaction that sees the whole database as it is now, whatever is written meanwhile."""
        level = "REPEATABLE READ" if self.dialect == "postgresql" else "SERIALIZABLE"
        try:
            self._look(doing)
            with self._engine.connect().execution_options(isolation_level=level) as connection, connection.begin():
                yield connection
        except (SQLAlchemyError, OSError) as error:
            raise _told(doing, error) from error

    def _look(self, doing: str) -> None:
        """SQLite goes on writing to a file that was moved away, and makes an empty one where none is: neither is ours."""
        if self._file is None:
            return
        try:
            inode = self._file.stat().st_ino
        except OSError as error:
            self._engine.dispose()
            msg = f"{doing}: the database {self._file} is gone ({error.strerror})."
            raise ConfigError(msg, hint="Bring it back, or restore one with `penstock state restore`.") from error
        if inode != self._inode:
            # Another file in its place, as after a restore: whatever is open still points to the old one.
            self._engine.dispose()
            self._inode = inode


def _told(doing: str, error: SQLAlchemyError | OSError) -> ConfigError:
    msg = f"{doing}: {error.__cause__ or error}"
    return ConfigError(msg, hint="Is the disk full, or the database of `state` locked or gone?")


def _engine(url: URL) -> Engine:
    if url.get_backend_name() == "sqlite":
        return create_engine(url, connect_args={"timeout": BUSY}, pool_size=2, max_overflow=2)
    # Of a connection that is lost its pool tells a traceback; whoever asked for it tells the same in one line.
    logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)
    try:
        engine = create_engine(
            url.set(drivername="postgresql+pg8000"),
            # The socket's own limit: a server that stands still answers no question, and says nothing of it either.
            connect_args={"timeout": int(BUSY), "application_name": "penstock"},
            pool_size=2,
            max_overflow=2,
            pool_timeout=BUSY,
            # A connection from before the server was restarted is found out before it is used.
            pool_pre_ping=True,
        )
        event.listen(engine, "handle_error", _lost)
    except ImportError as error:
        msg = "Opening the state on PostgreSQL: its driver is not installed."
        raise ConfigError(msg, hint="pip install 'penstock[postgres]'") from error
    return engine


def _lost(context: ExceptionContext) -> None:
    """An answer that did not come in time may come later: nobody may ask on that connection any more."""
    if isinstance(context.original_exception, OSError) or "network error" in str(context.original_exception):
        context.is_disconnect = True


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
    except (OperationalError, ProgrammingError):
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
