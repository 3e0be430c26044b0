"""The keys of the state in one worker's memory: read at the start, when told that they have changed, and twice a second.

Every key that is not revoked is in memory, so that a request never asks the database, whatever it shows: a flood of
made-up keys is a flood of dictionary lookups. Who changes keys on this machine tells every worker before it says that it
is done (admin_keys.py); workers of other machines see the generation grow (docs/decisions/0017).
"""

from __future__ import annotations

import asyncio
import os
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import structlog

from penstock.config import Config
from penstock.errors import ConfigError
from penstock.gateway.auth import Stored
from penstock.gateway.line import Line
from penstock.gateway.places import Places
from penstock.state import pepper
from penstock.types import Caller

if TYPE_CHECKING:
    from penstock.state.keys import Change

log = structlog.stdlib.get_logger("penstock.auth")

LOOK = 0.5
"""Seconds between two looks at the generation."""
REST = 5.0
"""Seconds between two looks whether there is a first key; whoever makes it on this machine tells us."""
PATIENCE = 2.0
"""Seconds a look may take; after that nobody knows what has changed."""


class _Seen:
    """What a look found: the pepper, the generation, and what has changed since the last one."""

    __slots__ = ("changes", "generation", "pepper", "whole")

    def __init__(self, found: bytes, generation: int, changes: list[Change], *, whole: bool) -> None:
        self.pepper = found
        self.generation = generation
        self.changes = changes
        self.whole = whole
        """Everything there is, not only what has changed."""


class StoredKeys:
    """Owned by a gateway process."""

    def __init__(self, config: Config, line: Line, places: Places) -> None:
        self._config = config
        self._line = line
        self._places = places
        self._callers: dict[bytes, Caller] = {}
        self._pepper = b""
        self.generation = 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="keys")
        self._looking = asyncio.Lock()
        self._unfinished: asyncio.Future[_Seen | None] | None = None
        self._well = time.monotonic()
        self._problem = ""
        self._task: asyncio.Task[None] | None = None

    # ── life ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def open(self) -> None:
        """Know the keys before the first request; go on looking."""
        await self.again()
        self._task = asyncio.create_task(self._watch(), name="keys")

    async def close(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK if self._line.stored.asked else REST)
            await self.again()

    @property
    def asked(self) -> bool:
        """Whether keys of the state are asked for: there are some, or the configuration says so."""
        auth = self._config.auth
        if auth.keys == "always" or auth.pepper_env or self._pepper:
            return True
        place = pepper.place(self._config.state)
        # Made with the first key; whoever could remove it could change the configuration too.
        return place is not None and place.exists()

    # ── looking ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def again(self) -> bool:
        """Look now; whether the keys are known as they are in the state."""
        async with self._looking:
            if not self.asked:
                return True
            try:
                async with asyncio.timeout(PATIENCE):
                    seen = await self._look()
            except (ConfigError, TimeoutError) as error:
                self._lost(error.sentence() if isinstance(error, ConfigError) else f"no answer within {PATIENCE:g} s")
                return False
            self._well = time.monotonic()
            if self._problem:
                log.info("keys can be read again")
                self._problem = ""
            self._take(seen)
            return True

    async def _look(self) -> _Seen | None:
        """In a thread, one at a time: a look that hangs is waited for again, never joined by another."""
        if self._unfinished is None:
            self._unfinished = asyncio.get_running_loop().run_in_executor(self._thread, self._read)
        looking = self._unfinished
        await asyncio.wait({looking})
        self._unfinished = None
        return looking.result()

    def _read(self) -> _Seen | None:
        """Blocking; None where no key was made yet."""
        found = self._pepper or pepper.read(self._config.state, self._config.auth.pepper_env, os.environ)
        if found is None:
            return None
        from penstock.state import keys  # noqa: PLC0415 - the database's library, see places.py

        store = self._places.store()
        number = keys.generation(store)
        if number == self.generation and self._pepper:
            return _Seen(found, number, [], whole=False)
        # Fewer than before: the state is another one, perhaps a backup.
        since = self.generation if number > self.generation and self._pepper else -1
        number, changes = keys.changes(store, since)
        return _Seen(found, number, changes, whole=since < 0)

    def _take(self, seen: _Seen | None) -> None:
        stored = self._line.stored
        if seen is not None:
            if seen.whole:
                self._callers.clear()
            for change in seen.changes:
                if change.key.revoked is None:
                    self._callers[change.digest] = change.key.caller()
                else:
                    self._callers.pop(change.digest, None)
            self._pepper, self.generation = seen.pepper, seen.generation
        if stored.asked and not stored.away and not (seen and (seen.changes or seen.whole)):
            return
        self._show(away=False)

    def _lost(self, problem: str) -> None:
        auth = self._config.auth
        grace = auth.store_grace if auth.store_away == "known-keys" and self._pepper else 0.0
        if not self._problem:
            log.error("keys cannot be read", problem=problem, then=auth.store_away)
        self._problem = problem
        if not self._line.stored.away and time.monotonic() - self._well >= grace:
            self._show(away=True)

    def _show(self, *, away: bool) -> None:
        self._line.stored = Stored(asked=True, pepper=self._pepper, callers=self._callers, away=away)
        self._line.renew()
