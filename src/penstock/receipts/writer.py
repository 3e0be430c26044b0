"""Closed requests become receipts: from the spool into the store, from there into the log. One process at a time.

    spool lines → receipts with salts → one transaction of the store → entries appended → checkpoint published

Killed at any point it goes on where the store says: nothing is read twice, and the log catches up with what the store has.
"""

from __future__ import annotations

import base64
import fcntl
import os
import sqlite3
import time
from pathlib import Path

import msgspec

from penstock.errors import BadLog
from penstock.receipts import sealed, spool
from penstock.receipts.gathered import Gathered
from penstock.receipts.log import Log
from penstock.receipts.made import Made, made
from penstock.receipts.note import Signer
from penstock.receipts.store import Store
from penstock.receipts.tiles import WIDTH

SPOOL, LOG, LOCK = "spool", "log", "writer.lock"
BATCH = 8192
"""Entries with which the log catches up at once."""


class Step(msgspec.Struct):
    """What one round did."""

    receipts: int = 0
    lost: int = 0
    """Of these, requests whose end nobody saw."""
    torn: int = 0
    """Lines that were none."""


def locked(place: Path) -> int | None:
    """The lock of a folder's one writer, as a descriptor; None where another process has it."""
    number = os.open(place / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(number)
        return None
    return number


class Writer:
    """Whoever holds the lock."""

    def __init__(self, place: Path, signer: Signer) -> None:
        self.place = place
        self._signer = signer
        self._spool = place / SPOOL
        self._spool.mkdir(mode=0o700, exist_ok=True)
        self.store = Store(place, write=True)
        self._log: Log | None = None
        self._open()

    def close(self) -> None:
        self.store.close()

    def _open(self) -> Log:
        """The log as far as the store has it."""
        log = Log(self.place / LOG, self._signer)
        size = self.store.size
        if log.size > size:
            raise BadLog(
                f"Opening the receipts in {self.place}: the log has {log.size} entries and the store {size}. It was put back from an older copy.",
                hint="Put back the newer store, or begin a new log in an empty folder: going on would fork this one.",
            )
        while entries := self.store.entries(log.size, BATCH):
            log.append(entries)
        if log.size > log.published.size:
            log.publish()
        self._log = log
        return log

    @property
    def size(self) -> int:
        """Entries of the log that are published."""
        return self._log.published.size if self._log is not None else 0

    def step(self) -> Step:
        """One round. Raises `OSError` or `sqlite3.Error` where it cannot write; the next round begins anew."""
        log = self._log or self._open()
        found = self._gather()
        receipts = made(found.lines)
        if receipts or found.progress.places or found.progress.done:
            self.store.add(receipts, [self._kept(one) for one in receipts], found.progress)
        if receipts:
            # A failure from here on leaves a log in memory that is ahead of its files.
            self._log = None
            log.append([one.entry for one in receipts])
            log.publish()
            self._log = log
        self._tidy()
        return Step(len(receipts), found.lost, found.torn)

    def _kept(self, one: Made) -> bytes | None:
        if one.bodies is None:
            return None
        data = msgspec.json.encode(one.bodies)
        if not one.bodies[0].startswith(SEALED):
            return data
        key = self.store.secret(one.tenant, os.urandom(sealed.KEY))
        locked_ = [sealed.lock(base64.b64decode(text.removeprefix(SEALED)), key) for text in one.bodies]
        return msgspec.json.encode([SEALED + base64.b64encode(text).decode() for text in locked_])

    def _gather(self) -> Gathered:
        known = self.store.spooled()
        found = Gathered(self.store.opened())
        for path in spool.waiting(self._spool):
            place, done = known.get(path.name, (0, False))
            if not done:
                found.read(path, place)
        return found

    def _tidy(self) -> None:
        """Files that are done with go; that they were is forgotten only when they are gone."""
        done = [name for name, (_, over) in self.store.spooled().items() if over]
        for name in done:
            (self._spool / name).unlink(missing_ok=True)
        if done:
            self.store.forget(done)

    def retain(self, seconds: float) -> int:
        """Delete receipts that are older, by whole tiles; how many."""
        return self.store.erase_before(int((time.time() - seconds) * 1e6), WIDTH)


SEALED = "sealed:"
"""Before a body that was sealed; plain ones have none."""
Failed = (OSError, sqlite3.Error)
"""What a round may raise that passes: a full disk, a read-only one."""
