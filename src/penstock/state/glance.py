"""Whether a table of the state has anything in it, without the 12 MB of the database's library.

Most gateways have nothing switched, and a start should not pay for the question. SQLite's own module answers it; for any
other database the answer is "perhaps".
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from urllib.parse import quote

from penstock.state.switch import Switch

SQLITE = "sqlite:///"
WAIT = 2.0


def has_rows(url: str, table: str) -> bool:
    """False only where it is certain that the table is empty or not there."""
    if not url.startswith(SQLITE):
        return True
    file = Path(url.removeprefix(SQLITE).partition("?")[0])
    if not file.exists():
        return False
    import sqlite3  # noqa: PLC0415 - a megabyte that a gateway without a state does not need either

    try:
        with contextlib.closing(sqlite3.connect(f"file:{quote(str(file))}?mode=ro", uri=True, timeout=WAIT)) as look:
            # The name is one of ours, never somebody's input; values cannot stand for tables.
            return look.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone() is not None  # noqa: S608
    except sqlite3.OperationalError as error:
        return "no such table" not in str(error)
    except sqlite3.DatabaseError:
        return True


def standing(url: str) -> list[Switch]:
    """What is switched, for somebody who is not the gateway; nothing is created where there is no state yet."""
    if not has_rows(url, "switches"):
        return []
    from penstock.state.store import Store  # noqa: PLC0415 - the library that this file spares those who need it not
    from penstock.state.switches import read  # noqa: PLC0415 - likewise

    with Store(url) as store:
        return [one for one in read(store).values() if not one.plain]
