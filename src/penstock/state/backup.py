"""A copy of the whole state while gateways use it, and the way back. Blocking, like everything in this package.

A backup is always one SQLite file of the same schema, whichever database it was made of, so that it can be restored into
either, looked into with any tool, and moved between the two. It is complete or not there: it is written beside its name first.
"""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import Connection, inspect, text

from penstock.errors import ConfigError
from penstock.state.migrations import MIGRATIONS
from penstock.state.store import Store

ROWS = 500
"""Rows copied in one statement."""
_OWN = frozenset({"migrations", "penstock_lock"})
"""Tables that say something of the database itself, not of what is kept in it."""


def backup(store: Store, file: Path) -> int:
    """Write a copy as of one moment; its schema's version. What was there under this name is replaced when it is whole."""
    with _beside(file) as fresh:
        if store.dialect == "sqlite":
            with store.begin("Copying the state") as connection, contextlib.closing(sqlite3.connect(fresh)) as copy:
                source = connection.connection.driver_connection
                if not isinstance(source, sqlite3.Connection):
                    raise TypeError(source)
                source.backup(copy, pages=1000)
                copy.execute("PRAGMA journal_mode=DELETE")
        else:
            with Store(f"sqlite:///{fresh}") as copy, store.snapshot("Copying the state") as connection:
                _copy(connection, copy)
            _whole(fresh)
        version = _checked(fresh)
        # Digests of keys are in it.
        fresh.chmod(0o600)
        fresh.replace(file)
    return version


def restore(store: Store, file: Path) -> int:
    """Put what a backup holds in place of everything that is kept now, in one transaction; how many rows that are."""
    if not file.is_file():
        raise ConfigError(f"Restoring the state: {file} is no file.", hint="`penstock state backup FILE` makes one.")
    with tempfile.TemporaryDirectory() as folder:
        # Opening brings a copy to the newest schema; the backup itself stays as it is.
        copy = Path(folder) / "state.db"
        shutil.copyfile(file, copy)
        _checked(copy, file)
        with Store(f"sqlite:///{copy}") as source, source.begin("Reading the backup") as connection:
            return _copy(connection, store, replace=True)


def _copy(source: Connection, target: Store, *, replace: bool = False) -> int:
    tables = sorted(set(inspect(source).get_table_names()) - _OWN)
    rows = 0
    with target.begin("Writing the copy") as connection:
        if replace:
            # In the target, tables of parts that the backup does not know of are emptied as well: it is one moment.
            for table in sorted(set(inspect(connection).get_table_names()) - _OWN):
                connection.execute(text(f"DELETE FROM {table}"))  # noqa: S608 - names of the schema, nobody's input
        for table in tables:
            if not replace:
                # Migrations put first rows into some tables.
                connection.execute(text(f"DELETE FROM {table}"))  # noqa: S608 - likewise
            found = source.execute(text(f"SELECT * FROM {table}"))  # noqa: S608 - likewise
            columns = list(found.keys())
            values = ", ".join(f":{column}" for column in columns)
            insert = text(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({values})")  # noqa: S608 - likewise
            for some in found.mappings().partitions(ROWS):
                connection.execute(insert, [dict(row) for row in some])
                rows += len(some)
    return rows


def _checked(file: Path, named: Path | None = None) -> int:
    """The version of a backup, if it is a whole one that this Penstock can read."""
    try:
        with contextlib.closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as look:
            (verdict,) = look.execute("PRAGMA integrity_check").fetchone()
            version = int(look.execute("SELECT MAX(number) FROM migrations").fetchone()[0] or 0)
    except (sqlite3.Error, OverflowError) as error:
        msg = f"Reading the backup {named or file}: it is not one ({error})."
        raise ConfigError(msg, hint="`penstock state backup FILE` makes one.") from error
    if verdict != "ok":
        raise ConfigError(f"Reading the backup {named or file}: it is damaged ({verdict}).", hint="Is there another?")
    if version > MIGRATIONS[-1].number:
        msg = f"Reading the backup {named or file}: its schema is version {version}, and this Penstock knows {MIGRATIONS[-1].number}."
        raise ConfigError(msg, hint="Restore it with the version that made it, or a newer one.")
    return version


def _whole(file: Path) -> None:
    """Everything in the one file: what stands in the log of writes beside it is taken in."""
    with contextlib.closing(sqlite3.connect(file)) as copy:
        copy.execute("PRAGMA journal_mode=DELETE")


@contextlib.contextmanager
def _beside(file: Path) -> Iterator[Path]:
    try:
        folder = tempfile.mkdtemp(prefix=".penstock-", dir=file.absolute().parent)
    except OSError as error:
        msg = f"Writing the backup {file}: {error.strerror}."
        raise ConfigError(msg, hint="Its folder must exist and be writable.") from error
    try:
        yield Path(folder) / "state.db"
    finally:
        shutil.rmtree(folder, ignore_errors=True)
