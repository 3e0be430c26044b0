"""Row 30: the log cannot be written, because nobody reads it or its disk is full; and the disk of the state is full."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import signal
import sqlite3
import time
from pathlib import Path

from penstock.faults.gateways import eventually
from penstock.faults.injectors.disk import Disk
from penstock.faults.injectors.pipe import Pipe
from penstock.faults.scenario import Failed, Need, Scenario
from penstock.faults.script import Script
from penstock.faults.site import WORDS, Site, answered

_REQUESTS = 60
_RESPONSES = {"input": WORDS, "messages": None}
_BACK = 20.0


async def stalled_log(site: Site) -> None:
    """Nobody reads the log and its pipe is full: requests go on as before, nothing of the log is lost when it is read again."""
    with Pipe(site.folder / "log") as pipe:
        site.a.script = Script(status=500)
        async with site.penstock(prefix=pipe.prefix) as one:
            one.own.checked = False
            stream_first = 0.0
            for number in range(_REQUESTS):
                seen = answered(await one.ask(stream=bool(number % 2)), by=site.b)
                stream_first = max(stream_first, seen.seconds)
            await one.counted("penstock_requests_total", _REQUESTS, {"status": "200"})
            if stream_first > 3.0:
                raise Failed(f"answers as fast as before were expected, seen one after {stream_first:.1f} s")
            await one.counted("penstock_log_lines_lost_total", 0)
            await eventually(
                lambda: pipe.read().count(b'"event":"request"') == _REQUESTS, "every record, once the log is read"
            )
            _parsed(pipe.read())


async def stalled_end(site: Site) -> None:
    """The same, and SIGTERM: the process ends in its time, with status 0, and not only when somebody reads."""
    with Pipe(site.folder / "log") as pipe:
        async with site.penstock(prefix=pipe.prefix) as one:
            one.own.checked = False
            for _ in range(_REQUESTS):
                answered(await one.ask(stream=False))
            one.process.signal(signal.SIGTERM)
            if status := await one.process.ended(15.0):
                raise Failed(f"status 0 was expected, seen {status}")


async def full_log(site: Site) -> None:
    """The disk of the log is full: requests go on, lost lines are counted, and said when there is room again."""
    disk = Disk(site.folder / "disk")
    log = disk.folder / "log"
    async with site.penstock(prefix=disk.prefix(log)) as one:
        one.own.checked = False
        pid = one.process.pid
        one.own.errors = disk.seen(pid, log)
        answered(await one.ask())
        await one.logged(event="request")
        disk.fill(pid)
        for _ in range(20):
            answered(await one.ask(stream=False))
        await one.counted("penstock_log_lines_lost_total", 1, at_least=True)
        disk.empty(pid)
        answered(await one.ask(headers={"x-request-id": "after-the-flood"}))
        await one.logged(event="request", request="after-the-flood")
        told = await one.logged(event="log lines were lost: they could not be written, or not fast enough")
        await one.counted("penstock_log_lines_lost_total", float(told["lines"]))
        torn = [line for line in _lines(one.own.errors) if not _is_json(line)]
        if len(torn) > 1:
            raise Failed(f"one torn line at most was expected, seen {torn[:3]}")


async def full_state(site: Site) -> None:
    """The disk of the state is full: stored answers are remembered in memory and told, and written once there is room."""
    disk = Disk(site.folder / "disk")
    state = disk.folder / "state.db"
    async with site.penstock({"state": f"sqlite:///{state}"}, prefix=disk.prefix()) as one:
        pid = one.process.pid
        made = [await _stored(one)]
        await _written(one)
        disk.fill(pid)
        made += [await _stored(one) for _ in range(5)]
        await one.counted("penstock_state_failures_total", 1, at_least=True)
        await one.logged(event="answers are remembered in memory alone", level="warning")
        if await one.metric("penstock_state_unwritten") != 5:
            raise Failed(
                f"5 places that the state does not have were expected, seen {await one.metric('penstock_state_unwritten')}"
            )
        await _found(one, made)
        answered(await one.ask())
        disk.empty(pid)
        await one.logged(event="answers are kept in the state again")
        await _written(one)
        # SQLite would follow /proc's link to our own disk, so it is given a copy, with what stands in its log of writes.
        for suffix in ("", "-wal"):
            shutil.copy(disk.seen(pid, state.with_name(state.name + suffix)), site.folder)
        with contextlib.closing(sqlite3.connect(site.folder / state.name)) as database:
            (kept,) = database.execute("SELECT COUNT(*) FROM answers").fetchone()
            (verdict,) = database.execute("PRAGMA integrity_check").fetchone()
        if kept != len(made) or verdict != "ok":
            raise Failed(f"{len(made)} places in a whole state were expected, seen {kept} and {verdict}")
        if (said := len(one.records(event="answers are remembered in memory alone"))) != 1:
            raise Failed(f"one line of the log about it was expected, seen {said}")


async def _written(site: Site) -> None:
    until = time.monotonic() + _BACK
    while await site.metric("penstock_state_unwritten"):
        if time.monotonic() > until:
            raise Failed("a state that has all places was expected while there is room")
        await asyncio.sleep(0.1)


async def _stored(site: Site) -> str:
    seen = answered(await site.ask(path="/v1/responses", stream=False, body=_RESPONSES), text=None)
    return str(seen.events[0]["id"])


async def _found(site: Site, answers: list[str]) -> None:
    for one in answers:
        if (seen := await site.get(f"/v1/responses/{one}")).status != 200:
            raise Failed(f"the stored answer {one} was expected, seen {seen}")


def _parsed(text: bytes) -> None:
    broken = [line for line in text.splitlines() if not _is_json(line)]
    if broken:
        raise Failed(f"a log of JSON lines was expected, seen {broken[:3]}")


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def _lines(file: Path) -> list[bytes]:
    return file.read_bytes().splitlines()


_OURS = frozenset({Need.PROCESS, Need.PENSTOCK})
_MOUNTS = _OURS | {Need.ROOT}
SCENARIOS = (
    Scenario(30, "stalled-log", stalled_log, _OURS, own=True),
    Scenario(30, "stalled-log-end", stalled_end, _OURS, own=True),
    Scenario(30, "full-disk-log", full_log, _MOUNTS, own=True),
    Scenario(30, "full-disk-state", full_state, _MOUNTS, own=True),
)
