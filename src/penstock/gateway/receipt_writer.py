"""`python -m penstock.gateway.receipt_writer`: the one process of a machine that makes receipts of what the spool says.

Runs until its stdin ends, then takes in what is left. Whoever does not get the lock waits for it: so another gateway's writer
goes on when this one dies.
"""

from __future__ import annotations

import argparse
import os
import select
import signal
import socket
import sys
import time
from pathlib import Path

import structlog

from penstock.config import Log
from penstock.errors import PenstockError
from penstock.gateway import logs
from penstock.receipts import spool
from penstock.receipts.keys import signer
from penstock.receipts.writer import SPOOL, Failed, Writer, locked

log = structlog.stdlib.get_logger("penstock.receipts")

IDLE = 0.1
"""Seconds between two looks at a spool that had nothing new."""
LOCKED = 0.5
FAILED = 1.0
LAST = 40.0
"""Seconds for workers that still drain when our stdin has ended."""
SWEEP = 600.0
UNUSABLE = 2


class _Life:
    """Whether whoever started us is still there."""

    def __init__(self) -> None:
        self.over = 0.0
        """Monotonic time at which it was gone."""

    def wait(self, seconds: float) -> None:
        """So long, or until that changes."""
        if self.over:
            time.sleep(min(seconds, IDLE))
        elif select.select([sys.stdin], [], [], seconds)[0] and not os.read(sys.stdin.fileno(), 4096):
            self.over = time.monotonic()

    @property
    def late(self) -> bool:
        return bool(self.over) and time.monotonic() > self.over + LAST


def main() -> int:
    """Wait for the lock, then write."""
    parser = argparse.ArgumentParser(prog="python -m penstock.gateway.receipt_writer")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--origin", default="")
    parser.add_argument("--key", default="")
    parser.add_argument("--keep", type=float, default=0.0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    logs.configure(Log(format="json" if options.json else "auto"))
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # a Ctrl-C is for the gateway, which ends us
    life = _Life()
    lock = locked(options.folder)
    while lock is None:
        life.wait(LOCKED)
        if life.over and (life.late or not spool.waiting(options.folder / SPOOL)):
            return 0  # the other one took in what was left
        lock = locked(options.folder)
    try:
        key = signer(options.folder, options.key, options.origin or f"{socket.gethostname()}/penstock")
        _run(Writer(options.folder, key), life, options.keep)
    except (PenstockError, *Failed) as error:
        log.critical("the log of receipts cannot be written", problem=str(error))
        return UNUSABLE
    return 0


def _run(writer: Writer, life: _Life, keep: float) -> None:
    log.info("the log of receipts is open", entries=writer.size, folder=str(writer.place))
    failing = False
    swept = 0.0
    while True:
        try:
            step = writer.step()
            if keep and time.monotonic() > swept + SWEEP:
                swept = time.monotonic()
                writer.retain(keep)
        except Failed as error:
            if not failing:
                log.error("receipts wait in the spool: the log cannot be written", problem=str(error))  # noqa: TRY400 - a sentence
            failing = True
            if life.late:
                return
            life.wait(FAILED)
            continue
        if failing:
            log.info("receipts are logged again")
            failing = False
        if step.lost or step.torn:
            log.warning("requests whose end nobody saw", lost=step.lost, torn_lines=step.torn)
        if not step.receipts:
            if life.over and (life.late or not spool.waiting(writer.place / SPOOL)):
                return
            life.wait(IDLE)


if __name__ == "__main__":
    sys.exit(main())
