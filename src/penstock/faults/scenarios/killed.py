"""Row 26: SIGKILL. What was acknowledged before it is there after the next start.

Acknowledged means: an answer that its client has whole. Of such a one the state knows where it lives, if the engine stores
it, and the log has a record a quarter of a second later. What is under way when the process dies is lost with it; its
clients see the connection end.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import signal
import sqlite3
import time
from collections.abc import Iterable
from pathlib import Path

from penstock.faults.askers import asking
from penstock.faults.gateways import eventually, free_port
from penstock.faults.scenario import Failed, Need, Scenario
from penstock.faults.site import MODEL, WORDS, Site, answered

ROUNDS = 10
_PATH = "/v1/responses"
_BODY = {"model": MODEL, "input": WORDS}
_LAST = 10
_PATIENT = {"between_tokens": "30s", "first_token": "30s", "total": "60s"}
"""An answer waits for the state for 5 s and no longer than between two tokens: a busy machine may need a second to open it."""
_WRITTEN = 0.6
"""Seconds within which a record is in the log: a quarter for the thread that writes it, and room for a busy machine."""


async def killed(site: Site) -> None:
    """SIGKILL after ten stored answers, and a new start: all are found again, all have a record, the state is whole."""
    async with site.penstock() as one:
        made = []
        for _ in range(10):
            seen = answered(await one.ask(path=_PATH, stream=False, body={**_BODY, "messages": None}), text=None)
            made.append(str(seen.events[0]["id"]))
        await _settled(one, len(made))
        await one.process.kill()
        await one.own.start()
        await one.own.ready()
        _whole(one)
        if lost := await _missing(one, made):
            raise Failed(
                f"all ten stored answers were expected after the restart, {len(lost)} are not found: {lost[:3]}"
            )


async def kill_loop(site: Site) -> None:
    """Ten SIGKILLs at random moments under load: every answer that a client had whole is found again, the state is whole."""
    await _kill_again_and_again(site, 1)


async def kill_loop_again(site: Site) -> None:
    """Ten more at other moments."""
    await _kill_again_and_again(site, 2)


async def _kill_again_and_again(site: Site, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - the same moments in every run
    async with site.penstock({"listen": [f"127.0.0.1:{free_port()}"], "limits": _PATIENT}) as one:
        one.own.checked = False
        total = 0
        for number in range(ROUNDS):
            async with asking(one.url, 4, body=_BODY, path=_PATH) as askers:
                await asyncio.gather(*(asker.more(2) for asker in askers))
                await asyncio.sleep(chance.uniform(0.0, 0.3))
                await one.process.kill()
                for asker in askers:
                    asker.stopping = True
            await one.own.start()
            await one.own.ready()
            _whole(one)
            total += sum(asker.answered for asker in askers)
            # What a kill may have taken along are the last ones of each client.
            made = [str(json.loads(body)["id"]) for asker in askers for body in asker.answers[-_LAST:]]
            if lost := await _missing(one, made):
                raise Failed(f"all {len(made)} answers were expected after kill {number + 1}, not found: {lost[:5]}")
        site.notes.append(f"{ROUNDS} kills, {total} stored answers, none of the last ones lost")


async def orphans(site: Site) -> None:
    """The process that watches the workers is killed: they end what they have begun and go, and a new start has the port."""
    changes = {"workers": 2, "listen": [f"127.0.0.1:{free_port()}"]}
    async with site.penstock(changes) as one:
        one.own.checked = False
        workers = children(one.process.pid)
        if len(workers) != 2:
            raise Failed(f"two workers were expected, seen {workers}")
        one.process.signal(signal.SIGKILL)
        await one.process.ended()
        await eventually(lambda: not any(_alive(pid) for pid in workers), "workers that end without their parent", 15.0)
        await one.own.start()
        await one.own.ready()
        answered(await one.ask())


async def _settled(site: Site, count: int) -> None:
    """The log has a record of each request, soon after it was answered."""
    until = time.monotonic() + _WRITTEN
    while len(site.records(event="request", path=_PATH, outcome="answered")) < count:
        if time.monotonic() > until:
            raise Failed(
                f"{count} records within {_WRITTEN} s were expected, seen {len(site.records(event='request'))}"
            )
        await asyncio.sleep(0.02)


async def _missing(site: Site, answers: Iterable[str]) -> list[str]:
    asked = list(answers)
    seen = await asyncio.gather(*(site.get(f"{_PATH}/{one}") for one in asked))
    return [one for one, found in zip(asked, seen, strict=True) if found.status != 200]


def _whole(site: Site) -> None:
    """SQLite finds nothing wrong with the state."""
    file = str(site.own.config["state"]).removeprefix("sqlite:///")
    with contextlib.closing(sqlite3.connect(file)) as state:
        (verdict,) = state.execute("PRAGMA integrity_check").fetchone()
    if verdict != "ok":
        raise Failed(f"a state that is whole was expected, SQLite says: {verdict}")


def children(pid: int) -> list[int]:
    """The processes that it started."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]


def _alive(pid: int) -> bool:
    """Whether it runs; who has ended and waits for nobody to look is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] not in {"Z", "X"}
    except (FileNotFoundError, ProcessLookupError):
        return False


_OURS = frozenset({Need.PROCESS, Need.PENSTOCK})
SCENARIOS = (
    Scenario(26, "sigkill", killed, _OURS, own=True),
    Scenario(26, "sigkill-loop", kill_loop, _OURS, own=True, limit=170.0),
    Scenario(26, "sigkill-loop-again", kill_loop_again, _OURS, own=True, limit=170.0),
    Scenario(26, "sigkill-watcher", orphans, _OURS, own=True),
)
