"""Where stored answers live, kept in the state database that is opened when the first one is made.

Most gateways never store an answer, and the database's library is a fifth of an idle gateway's memory. Blocking; called
from the record thread and from worker threads, never on the event loop.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import structlog

from penstock.errors import ConfigError

if TYPE_CHECKING:
    from penstock.state.store import Store

log = structlog.stdlib.get_logger("penstock.state")


class Places:
    """The table of answers, opened on first use."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._store: Store | None = None
        self._lock = threading.Lock()
        self._failing = False
        self.failures = 0
        """Attempts to write that failed."""

    def put_answers(self, places: list[tuple[str, str, str]]) -> bool:
        """Remember tenant and backend of each answer id; where that is impossible now, say so once and go on."""
        try:
            self.store().put_answers(places)
        except ConfigError as error:
            self.failures += 1
            if not self._failing:
                log.warning("answers are remembered in memory alone", problem=error.sentence())
            self._failing = True
            return False
        if self._failing:
            log.info("answers are kept in the state again", answers=len(places))
        self._failing = False
        return True

    def answer_place(self, answer: str) -> tuple[str, str] | None:
        """The tenant of an answer and the backend that made it, if they are remembered."""
        return self.store().answer_place(answer)

    def close(self) -> None:
        """Close what was opened."""
        with self._lock:
            if self._store is not None:
                self._store.close()
                self._store = None

    def store(self) -> Store:
        """The whole database, for parts that keep something else there."""
        with self._lock:
            if self._store is None:
                from penstock.state.store import Store  # noqa: PLC0415 - 12 MB that most gateways never need

                self._store = Store(self._url)
            return self._store
