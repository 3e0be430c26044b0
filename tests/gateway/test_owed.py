"""What is obeyed and not written yet: of two ways back of one alias the later one is kept."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio
from tests.gateway.fleets import Still, config, vllm

from penstock.config import Target
from penstock.errors import ConfigError
from penstock.gateway import switchboard
from penstock.gateway.line import Line
from penstock.gateway.peers import Peers
from penstock.gateway.places import Places
from penstock.gateway.record import Records
from penstock.gateway.sink import Sink
from penstock.state.switch import Canary, Event, Switch


class Held(switchboard.Switchboard):
    """Writes nothing at first; then as slowly as the test says."""

    writable = False

    def ready(self) -> None:
        self.writing, self.may_write = threading.Event(), threading.Event()

    def _write(self, after: Switch, event: Event) -> Switch:
        if not self.writable:
            raise ConfigError("Writing: the disk is full.")
        if event.what == "canary stop":
            self.writing.set()
            assert self.may_write.wait(20)
        return super()._write(after, event)


@pytest_asyncio.fixture
async def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Held]:
    monkeypatch.setattr(switchboard, "LATER", 0.01)
    settings = config({"old": vllm(), "new": vllm()}, [(["old"], "m")])
    url = f"sqlite:///{tmp_path / 'state.db'}"
    fleet, places = Still(settings), Places(url)
    line = Line(settings, fleet, Records(lines=False, json=True, out=Sink(io.BytesIO())))
    one = Held(line, places, Peers(str(tmp_path / "admin.sock"), 0, 1), url, leads=False)
    one.ready()
    yield one
    await one.close()
    fleet.close()
    places.close()


async def test_a_rollback_while_a_stop_is_being_written_is_not_forgotten(board: Held) -> None:
    target = Target(backends=("new",), model="m")
    canary = Canary(id="c", target=target, steps=(50.0,), since=0.0)
    board.writable = True
    await board.order("a", lambda before: (_with(before, canary, target), _event("promote")))
    board.writable = False
    await board.stop("a", "me", "")
    assert list(board.owed) == ["a"]
    board.writable = True
    assert await asyncio.to_thread(board.writing.wait, 20)
    board.writable = False
    after = await board.rollback("a", "me")
    assert (after.canary, after.override) == (None, None)
    board.writable = True
    board.may_write.set()
    async with asyncio.timeout(20):
        while board.owed:  # noqa: ASYNC110 - a dictionary tells nobody that it is empty
            await asyncio.sleep(0.01)
    await board.again()
    assert board.switches["a"].override is None
    assert [event.what for event in await board.events("a", 10)] == ["rollback", "canary stop", "promote"]


def _with(before: Switch, canary: Canary, target: Target) -> Switch:
    return msgspec.structs.replace(before, canary=canary, override=target)


def _event(what: str) -> Event:
    return Event(what=what, alias="a", who="me", reason="")
