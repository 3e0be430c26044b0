"""Rows 28 and 29: the disk of the receipts is full, read-only or slow, its last lines are torn, and the clock jumps."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from pathlib import Path

from penstock.errors import PenstockError
from penstock.faults.injectors.clock import Clock
from penstock.faults.injectors.disk import Disk
from penstock.faults.scenario import Failed, Need, Scenario
from penstock.faults.seen import Outcome, Seen
from penstock.faults.site import Site, answered, explicit
from penstock.receipts import keys, proof
from penstock.receipts.receipt import Receipt
from penstock.receipts.verify import Trust, verify
from penstock.receipts.writer import LOG, SPOOL

_SIZE = 24 << 20
_REQUESTS = 20
_HOUR = 3600.0
_LOGGED = 20.0
"""Seconds within which receipts must be in the log once there is room."""


async def full(site: Site) -> None:
    """The disk of the receipts is full: requests go on, an alarm says so, and every receipt is there once there is room."""
    disk = Disk(site.folder / "disk", _SIZE)
    async with site.penstock({"receipts": {"folder": str(disk.folder / "r")}}, prefix=disk.prefix()) as one:
        one.own.checked = False
        pid = one.process.pid
        place = disk.seen(pid, disk.folder / "r")
        await _asked(one, "before")
        await _logged(one, place, "before")
        disk.fill(pid)
        await _asked(one, "during")
        await one.counted("penstock_receipts_failing", 1)
        await one.logged(event="receipts cannot be written", level="error")
        disk.empty(pid)
        await _asked(one, "after")
        for name in ("before", "during", "after"):
            await _logged(one, place, name)
        await one.logged(event="receipts are written again")
        await one.counted("penstock_receipts_lost_total", 0)
        _good(place)


async def closed(site: Site) -> None:
    """The same with `when_full: fail-closed`: requests are refused with 503 until there is room, none is answered without a receipt."""
    disk = Disk(site.folder / "disk", _SIZE)
    settings = {"receipts": {"folder": str(disk.folder / "r"), "when_full": "fail-closed"}}
    async with site.penstock(settings, prefix=disk.prefix()) as one:
        one.own.checked = False
        pid = one.process.pid
        place = disk.seen(pid, disk.folder / "r")
        await _asked(one, "before")
        disk.fill(pid)
        # What is left of the spool's last page takes a few lines more; from the first refusal on there is none.
        until = time.monotonic() + _LOGGED
        taken: list[str] = []
        while (seen := await _ask(one, f"taken-{len(taken)}")).status == 200:
            taken.append(f"taken-{len(taken)}")
            if time.monotonic() > until:
                raise Failed("a refusal was expected while the disk is full")
        for number in range(_REQUESTS):
            seen = explicit(await _ask(one, f"refused-{number}"), Outcome.REFUSED)
            if seen.status != 503:
                raise Failed(f"a refusal with 503 was expected, seen {seen}")
        disk.empty(pid)
        until = time.monotonic() + _LOGGED
        while (await _ask(one, "again")).status != 200:
            if time.monotonic() > until:
                raise Failed("an answer soon after there was room was expected")
            await asyncio.sleep(0.1)
        await _logged(one, place, "before")
        for name in taken:
            await _receipt(one, place, name)
        _good(place)


async def read_only(site: Site) -> None:
    """The folder of the receipts is read-only: the gateway does not start, and says what must be writable."""
    folder = site.folder / "r"
    folder.mkdir()
    config = site.folder / "penstock.json"
    config.write_text(
        json.dumps(
            {
                "listen": ["127.0.0.1:0"],
                "backends": {"a": {"kind": "vllm", "url": site.a.url}},
                "aliases": {"m": {"targets": [{"backends": ["a"], "model": "m"}]}},
                "receipts": {"folder": str(folder)},
                "state": f"sqlite:///{site.folder / 'state.db'}",
                "admin": str(site.folder / "admin.sock"),
                "log": {"format": "json"},
            }
        )
    )
    script = f'mount --bind "{folder}" "{folder}" && mount -o remount,bind,ro "{folder}" && exec "$@"'
    process = await asyncio.create_subprocess_exec(
        *("unshare", "--mount", "sh", "-c", script, "sh", sys.executable, "-P", "-m", "penstock.gateway", "--config", str(config)),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(30.0):
            _, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    if process.returncode != 2 or b"receipts.folder" not in errors:
        raise Failed(
            f"status 2 and a word about receipts.folder were expected, seen {process.returncode}: {errors[-300:]!r}"
        )


async def slow(site: Site) -> None:
    """The log's disk takes nothing for a while: requests go on and wait in the spool, and none is there twice afterwards."""
    folder = site.folder / "r"
    async with site.penstock({"receipts": {"folder": str(folder)}}) as one:
        await _asked(one, "before")
        await _logged(one, folder, "before")
        writer = _writer(one.process.pid)
        os.kill(writer, signal.SIGSTOP)
        try:
            before = verify(folder / LOG, Trust(keys.public(folder))).size
            await _asked(one, "during")
            if (await _get(one, "during-0")).status != 404:
                raise Failed("a receipt that is not in the log yet was expected")
        finally:
            os.kill(writer, signal.SIGCONT)
        await _logged(one, folder, "during")
        if (size := verify(folder / LOG, Trust(keys.public(folder))).size) != before + _REQUESTS:
            raise Failed(f"{_REQUESTS} entries more were expected, seen {size - before}")
        _good(folder)


async def torn(site: Site) -> None:
    """SIGKILL, and the last lines of the spool are torn as after a power cut: the log verifies and goes on, what was whole is in it once."""
    folder = site.folder / "r"
    async with site.penstock({"receipts": {"folder": str(folder)}}) as one:
        one.own.checked = False
        await _asked(one, "before")
        await _logged(one, folder, "before")
        os.kill(_writer(one.process.pid), signal.SIGKILL)
        await _asked(one, "whole")
        await one.process.kill()
    spool = max((folder / SPOOL).glob("*.spool"))
    with spool.open("ab") as file:
        file.write(b'["c1",99,"half of a li\n' + b"\0" * 300 + b'["o1",98,"to')
    async with site.penstock({"receipts": {"folder": str(folder)}}) as one:
        await _asked(one, "after")
        for name in ("before", "whole", "after"):
            await _logged(one, folder, name)
        _good(folder)
        if (size := verify(folder / LOG, Trust(keys.public(folder))).size) != 3 * _REQUESTS:
            raise Failed(f"{3 * _REQUESTS} entries were expected, seen {size}")


async def order(site: Site) -> None:
    """Steps of an hour either way between requests: receipts stand in the order of the requests, their durations know no hour."""
    clock = Clock(site.folder)
    folder = site.folder / "r"
    async with site.penstock({"receipts": {"folder": str(folder)}}, env=dict(clock.env)) as one:
        places = []
        for number, step in enumerate((0.0, _HOUR, -_HOUR, 0.0, _HOUR)):
            clock.step(step)
            answered(await _ask(one, f"step-{number}"))
            place, receipt = await _receipt(one, folder, f"step-{number}")
            places.append(place)
            if receipt.timings.total is None or not 0 < receipt.timings.total < 30e6:
                raise Failed(f"a duration of a monotonic clock was expected, seen {receipt.timings}")
        if places != sorted(places):
            raise Failed(f"the order of the requests was expected, seen {places}")
        _good(folder)


async def _ask(site: Site, name: str) -> Seen:
    return await site.ask(stream=False, headers={"x-request-id": name})


async def _asked(site: Site, name: str) -> None:
    for number in range(_REQUESTS):
        answered(await _ask(site, f"{name}-{number}"))


async def _logged(site: Site, folder: Path, name: str) -> None:
    for number in range(_REQUESTS):
        await _receipt(site, folder, f"{name}-{number}")


async def _get(site: Site, name: str) -> Seen:
    return await site.get(f"/receipts/{name}")


async def _receipt(site: Site, folder: Path, name: str) -> tuple[int, Receipt]:
    """The receipt of a request, once it can be had, proved with the public key alone; and its place."""
    until = time.monotonic() + _LOGGED
    while (seen := await _get(site, name)).status != 200:
        if time.monotonic() > until:
            raise Failed(f"the receipt of {name} was expected, seen {seen}")
        await asyncio.sleep(0.05)
    try:
        receipt, place, _ = proof.verify(proof.decode(seen.body), keys.public(folder))
    except PenstockError as error:
        raise Failed(f"a proof that verifies was expected, seen {error.message}") from None
    if receipt.outcome != "answered":
        raise Failed(f"a receipt of an answer was expected, seen {receipt.outcome}")
    return place, receipt


def _good(folder: Path) -> None:
    report = verify(folder / LOG, Trust(keys.public(folder)))
    if not report.good:
        raise Failed(f"a log that verifies was expected, seen {report.findings[:3]}")


def _writer(gateway: int) -> int:
    for word in Path(f"/proc/{gateway}/task/{gateway}/children").read_text(encoding="ascii").split():
        if b"receipt_writer" in Path(f"/proc/{word}/cmdline").read_bytes():
            return int(word)
    raise Failed("a process that writes the log was expected")


_OURS = frozenset({Need.PROCESS, Need.PENSTOCK})
SCENARIOS = (
    Scenario(28, "full-disk", full, _OURS | {Need.ROOT}, own=True),
    Scenario(28, "full-disk-closed", closed, _OURS | {Need.ROOT}, own=True),
    Scenario(28, "read-only", read_only, _OURS | {Need.ROOT}, own=True),
    Scenario(28, "slow", slow, _OURS, own=True),
    Scenario(28, "torn", torn, _OURS, own=True),
    Scenario(29, "receipts-in-order", order, _OURS | {Need.FAKETIME}, own=True),
)
