"""Receipts of one worker: every request notes here that it goes to an engine, and how it ended.

    gateway     lines in a spool, written as they happen                    receipt_note.py, receipt_spool.py
    writer      one process per machine: receipts, store, log               receipt_process.py, receipt_writer.py

Nothing here is reached while `line.receipts` is None.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from penstock.errors import BadLog, BadNote, ConfigError, Unrecorded
from penstock.gateway.receipt_finish import Bodies, finish
from penstock.gateway.receipt_note import AT_ONCE, Note
from penstock.gateway.receipt_process import Process
from penstock.gateway.receipt_spool import Spool
from penstock.receipts import checkpoint, folder, note, sealed
from penstock.receipts.writer import LOG, SPOOL

if TYPE_CHECKING:
    from hashlib import _Hash

    from penstock.config import Config
    from penstock.config_receipts import Receipts as Settings
    from penstock.gateway.metrics import Gauges, Metrics
    from penstock.gateway.request import Request
    from penstock.receipts.spool import Closed

log = structlog.stdlib.get_logger("penstock.receipts")

DURABLE = 5.0
"""Seconds an answer waits at most for its receipt to be on the disk."""


class Receipts:
    """What a worker needs to write them."""

    def __init__(self, settings: Settings, config: Config, *, leads: bool) -> None:
        self.settings = settings
        self.place = Path(settings.folder)
        self.strict = settings.when_full == "fail-closed"
        self.keeps = settings.bodies != "none"
        self.fold_at = settings.body if self.keeps else AT_ONCE
        auditor = sealed.public(settings.auditor) if settings.bodies == "sealed" else None
        self._bodies = Bodies(settings.body, auditor) if self.keeps else None
        self.adopt(config)
        try:
            (self.place / SPOOL).mkdir(mode=0o700, parents=True, exist_ok=True)
            self.spool = Spool(self.place / SPOOL, settings.spool)
        except OSError as error:
            raise ConfigError(
                f"Opening the spool of receipts in {settings.folder}: {error.strerror}.",
                hint="`receipts.folder` must be writable.",
            ) from None
        self._process = Process(settings, json=config.log.format == "json") if leads else None
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="receipt")
        self._loop = asyncio.get_running_loop()

    def adopt(self, config: Config) -> None:
        """Which aliases wait for the disk."""
        self.durable = frozenset(name for name, alias in config.aliases.items() if alias.durability == "fsync")

    def start(self) -> None:
        """Begin."""
        self.spool.start()
        if self._process is not None:
            self._process.start()

    async def close(self) -> None:
        """Nothing is answered any more: write what is left, and let the log take it."""
        await asyncio.to_thread(self._pool.shutdown)
        await asyncio.sleep(0)  # what the pool still told the loop
        await asyncio.to_thread(self.spool.close)
        if self._process is not None:
            await self._process.stop()

    # ── of a request ─────────────────────────────────────────────────────────────────────────────────────────────────

    def begin(self, request: Request) -> Unrecorded | None:
        """Its body is whole; the refusal where nothing may be answered that has no receipt."""
        if request.client is None:
            return None
        if self.strict and self.spool.full:
            why = self.spool.failing or "too many wait to be logged"
            return Unrecorded(f"Writing a receipt: {why}.", hint="Try again in a moment.", retry_after=1)
        request.client = request.receipt = Note(self, request.client, request)
        return None

    def finish(self, one: Note, line: Closed, answer: bytes, digest: _Hash | None) -> None:
        """What takes longer is done by a thread; then the line is written."""
        asked, one.request = one.request, None
        working = self._pool.submit(finish, line, asked, answer, digest, self._bodies)
        working.add_done_callback(partial(self._finished, one, line))

    def _finished(self, one: Note, line: Closed, working: Future[None]) -> None:
        trouble = working.exception()
        if trouble is not None:
            log.error("a receipt lacks what takes longer", request=line.id, exc_info=trouble)
        with contextlib.suppress(RuntimeError):  # the loop has ended, and with it whoever waited
            self._loop.call_soon_threadsafe(one.write_line, line)

    def when_durable(self, then: Callable[[], None]) -> None:
        """Call when everything written so far is on the disk; not later than in five seconds."""
        waiting = _Once(then)
        timer = self._loop.call_later(DURABLE, waiting.call)
        self.spool.durable(partial(self._told, waiting, timer))

    def _told(self, waiting: _Once, timer: asyncio.TimerHandle) -> None:
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(timer.cancel)
            self._loop.call_soon_threadsafe(waiting.call)

    # ── figures ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def gauges(self, metrics: Metrics) -> Gauges:
        """For the figures; the log's size is read from its checkpoint."""
        metrics.total("penstock_receipts_lost", self.spool.lost)
        told: Gauges = {
            "penstock_receipts_failing": [((), float(bool(self.spool.failing)))],
            "penstock_receipts_unwritten": [((), float(self.spool.owed))],
        }
        if self._process is not None:
            told["penstock_receipts_writer_up"] = [((), float(self._process.up))]
            told["penstock_receipts_spool_bytes"] = [((), float(self.spool.size))]
            told["penstock_receipts_logged"] = [((), float(logged(self.place)))]
        return told


def logged(place: Path) -> int:
    """How many entries the log says it has; 0 where it does not say."""
    try:
        return checkpoint.read(note.parse(folder.read(place / LOG / folder.CHECKPOINT)).text).size
    except (OSError, BadNote, BadLog):
        return 0


class _Once:
    """Whoever comes first."""

    def __init__(self, then: Callable[[], None]) -> None:
        self._then: Callable[[], None] | None = then

    def call(self) -> None:
        then, self._then = self._then, None
        if then is not None:
            then()
