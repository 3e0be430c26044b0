"""Requests without end at a gateway that writes receipts, while its processes are killed at random moments."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.fakes.gateway import Gateway, Gateways, StartGateway
from tests.fakes.raw import once

from penstock.errors import BadLog
from penstock.receipts import folder, keys, receipt
from penstock.receipts.folder import CHECKPOINT
from penstock.receipts.receipt import Receipt
from penstock.receipts.store import Store
from penstock.receipts.verify import Trust, verify
from penstock.receipts.writer import LOG, SPOOL

CLIENTS = 3
LIMIT = 60.0
HELLO = [{"role": "user", "content": "hello wide world"}]


def writer_of(gateway: int) -> int | None:
    """The pid of a gateway's writer."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path(f"/proc/{gateway}/task/{gateway}/children").read_text().split():
            if b"receipt_writer" in Path(f"/proc/{line}/cmdline").read_bytes():
                return int(line)
    return None


async def closed(gateways: Gateways) -> None:
    """End those that were not killed."""
    gateways._running = [one for one in gateways._running if one.process.returncode != -signal.SIGKILL]
    await gateways.close()


@dataclass
class Siege:
    """What was asked, what was acknowledged, and what the log said meanwhile."""

    start: StartGateway
    config: dict[str, Any]
    place: Path
    seed: int = 1
    asked: int = 0
    acknowledged: set[str] = field(default_factory=set)
    checkpoints: list[bytes] = field(default_factory=list)
    kills: Counter[str] = field(default_factory=Counter)
    killed: int = 0
    """The writer that was killed last; the kernel shows it for a moment longer."""
    gateway: Gateway | None = None
    over: bool = False

    async def run(self, kills: int) -> None:
        """Kill so many times, then let it end in peace."""
        luck = random.Random(self.seed + sum(self.kills.values()))
        self.over = False
        self.gateway = await self.start(self.config)
        clients = [asyncio.create_task(self._ask(number)) for number in range(CLIENTS)]
        try:
            for _ in range(kills):
                await self._kill(luck)
                self._look()
        finally:
            self.over = True
            await asyncio.gather(*clients)
        assert await self.gateway.stop() == 0
        async with asyncio.timeout(LIMIT):
            while list((self.place / SPOOL).glob("*.spool")):  # noqa: ASYNC110 - other processes write it
                await asyncio.sleep(0.05)

    async def _kill(self, luck: random.Random) -> None:
        assert self.gateway is not None
        process = self.gateway.process
        if luck.random() < 0.15:
            await asyncio.sleep(luck.random() * 0.5)
            process.kill()
            await process.wait()
            self.kills["gateway"] += 1
            self.gateway = await self.start(self.config)
            return
        async with asyncio.timeout(LIMIT):
            while (pid := writer_of(process.pid)) in {None, self.killed}:  # noqa: ASYNC110 - another process starts it
                await asyncio.sleep(0.01)
        assert pid is not None
        await asyncio.sleep(luck.random() * 0.4)
        os.kill(pid, signal.SIGKILL)
        self.killed = pid
        self.kills["writer"] += 1

    def _look(self) -> None:
        with contextlib.suppress(OSError, BadLog):
            self.checkpoints.append(folder.read(self.place / LOG / CHECKPOINT))

    async def _ask(self, client: int) -> None:
        luck = random.Random(self.seed * 100 + client)
        while not self.over:
            self.asked += 1
            name = f"kill-{client}-{self.asked}"
            body = {"model": "m", "messages": HELLO, "stream": luck.random() < 0.5}
            assert self.gateway is not None
            try:
                answer = await once(self.gateway.url, "/v1/chat/completions", body, f"x-request-id: {name}")
            except OSError:
                await asyncio.sleep(0.05)
                continue
            if answer.complete and answer.status == 200:
                assert answer.header("x-penstock-receipt") == name
                self.acknowledged.add(name)

    def judge(self) -> dict[str, Receipt]:
        """Every acknowledged request has exactly one receipt, which says so, in a log that only ever grew."""
        store = Store(self.place)
        found = [receipt.read(one.data) for one in store.all()]
        assert store.size == len(found)
        store.close()
        counts = Counter(one.id for one in found)
        assert [name for name, count in counts.items() if count > 1] == []
        receipts = {one.id: one for one in found}
        assert self.acknowledged <= receipts.keys()
        assert {receipts[name].outcome for name in self.acknowledged} == {"answered"}
        report = verify(self.place / LOG, Trust(keys.public(self.place)), self.checkpoints)
        assert report.findings == []
        assert report.size == len(found)
        return receipts
