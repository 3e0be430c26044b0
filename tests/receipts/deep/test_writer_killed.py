"""The writer is killed two hundred times at any instruction, while a gateway goes on writing its spool."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import time
from collections import Counter
from pathlib import Path

import pytest
from tests.receipts.logs import SIGNER, closed, opened, say, writing

from penstock.errors import BadLog
from penstock.receipts import folder, receipt
from penstock.receipts.folder import CHECKPOINT
from penstock.receipts.spool import encode, waiting
from penstock.receipts.verify import Trust, verify
from penstock.receipts.writer import LOG, SPOOL, Writer, locked

KILLS = 200
LONGEST = 0.6
"""Seconds until a kill."""


def write(place: str) -> None:
    """What the process does: wait for the lock, then write for ever."""
    lock = None
    while lock is None:
        lock = locked(Path(place))
    writer = Writer(Path(place), SIGNER)
    while True:
        if not writer.step().receipts:
            time.sleep(0.001)


@pytest.mark.alone
@pytest.mark.timeout(600)
def test_two_hundred_kills_of_the_writer(tmp_path: Path) -> None:
    """Whatever it was doing: every request is in the log once, and the log only ever grew."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    luck = random.Random(11)
    said = 0
    checkpoints = []
    begun: list[int] = []
    file = say(tmp_path, b"", "0000")
    for kill in range(KILLS):
        process = context.Process(target=write, args=(str(tmp_path),))
        process.start()
        while (free := locked(tmp_path)) is not None:  # it has not begun yet
            os.close(free)
            time.sleep(0.001)
        until = time.monotonic() + luck.random() * LONGEST
        while True:
            # Some end at once, some later, some never: the process that wrote them is gone before.
            for _ in range(luck.randrange(30)):
                os.write(file, encode(opened(said)) + b"\n")
                begun.append(said)
                said += 1
            for number in luck.sample(begun, len(begun) // 2):
                os.write(file, encode(closed(number)) + b"\n")
                begun.remove(number)
            if time.monotonic() > until:
                break
            time.sleep(0.02)
        process.kill()
        process.join()
        with contextlib.suppress(FileNotFoundError, BadLog):
            checkpoints.append(folder.read(tmp_path / LOG / CHECKPOINT))
        if kill % 20 == 19:
            os.close(file)
            begun = []
            file = say(tmp_path, b"", f"{kill:04}")
    os.close(file)
    with writing(tmp_path) as writer:
        while waiting(tmp_path / SPOOL):
            writer.step()
        counts = Counter(receipt.read(one.data).id for one in writer.store.all())
        assert writer.size == said
    assert len(set(checkpoints)) > KILLS // 10
    assert counts == Counter({f"req-{number}": 1 for number in range(said)})
    assert verify(tmp_path / LOG, Trust(SIGNER.verifier), checkpoints[::10]).findings == []
