"""What a worker knows of the keys in its state: changes by generation, and what holds while the state is away."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest
from tests.gateway.keyed import Waiting

from penstock.config import Config
from penstock.config_auth import Auth
from penstock.errors import AuthAway, ConfigError, Unauthorized
from penstock.gateway import stored_keys
from penstock.gateway.auth import Keyring
from penstock.gateway.stored_keys import StoredKeys
from penstock.sources import load
from penstock.state import keys, pepper
from penstock.state.key import Made, Wanted
from penstock.state.store import Store

if TYPE_CHECKING:
    from penstock.gateway.line import Line
    from penstock.gateway.places import Places

pytestmark = pytest.mark.asyncio


class State:
    """A state that can be away, or hang; stands for the gateway's own way to it."""

    def __init__(self, url: str) -> None:
        self._store = Store(url)
        self.away = False
        self.gate = threading.Event()
        self.gate.set()
        self.asked = 0

    def store(self) -> Store:
        """As `Places` has it: in a thread, and perhaps not now."""
        self.asked += 1
        self.gate.wait(30)
        if self.away:
            raise ConfigError("Opening the state: it is away.")
        return self._store

    def close(self) -> None:
        self.gate.set()
        self._store.close()


class Known:
    """One worker's keys."""

    def __init__(self, folder: Path, auth: Auth) -> None:
        self.url = f"sqlite:///{folder / 'state.db'}"
        self.config: Config = load(None, {}).config
        self.config = Config(backends=self.config.backends, aliases=self.config.aliases, state=self.url, auth=auth)
        self.state = State(self.url)
        self.line = Waiting()
        self.stored = StoredKeys(self.config, cast("Line", self.line), cast("Places", self.state))

    def make(self, **more: object) -> Made:
        found = pepper.make(self.url, "", {})
        wanted = Wanted(**{"name": "ann", "tenant": "acme", **more})  # type: ignore[arg-type]
        return keys.create(self.state._store, found, wanted, time.time())

    def who(self, key: str) -> str:
        """The caller behind a key, or why there is none."""
        ring = Keyring({}, self.line.stored)
        try:
            return ring.identify({b"authorization": b"Bearer " + key.encode()}, None, time.time()).name
        except AuthAway:
            return "away"
        except Unauthorized:
            return "nobody"


@contextlib.asynccontextmanager
async def knowing(folder: Path, auth: Auth | None = None) -> AsyncIterator[Known]:
    known = Known(folder, auth or Auth(keys="always"))
    try:
        yield known
    finally:
        known.state.close()
        await known.stored.close()


async def until(known: Known, key: str, who: str) -> None:
    async with asyncio.timeout(20):
        while known.who(key) != who:  # noqa: ASYNC110 - a task of the code under test
            await asyncio.sleep(0.01)


async def test_a_change_is_taken_once(tmp_path: Path) -> None:
    async with knowing(tmp_path) as known:
        made = known.make()
        assert await known.stored.again()
        assert known.who(made.secret) == "ann"
        renewed = known.line.renewed
        assert await known.stored.again()
        assert known.line.renewed == renewed, "nothing has changed, so no head need be asked again"
        keys.revoke(known.state._store, made.key.id, time.time())
        assert known.who(made.secret) == "ann"
        assert await known.stored.again()
        assert known.who(made.secret) == "nobody"


async def test_guesses_ask_nobody(tmp_path: Path) -> None:
    """Ten thousand made-up keys of the right form, and the state is not asked once (fault 24)."""
    async with knowing(tmp_path) as known:
        known.make()
        await known.stored.again()
        asked = known.state.asked
        for number in range(10_000):
            assert known.who(f"sk-aaaaaaaaaa-{number:032d}") == "nobody"
        assert known.state.asked == asked


async def test_without_a_key_ever_made_nothing_is_opened(tmp_path: Path) -> None:
    async with knowing(tmp_path, Auth()) as known:
        assert await known.stored.again()
        assert known.state.asked == 0
        assert known.line.renewed == 0
        made = known.make()
        assert await known.stored.again()
        assert known.line.stored.asked
        assert known.who(made.secret) == "ann"


async def test_fail_closed(tmp_path: Path) -> None:
    """W32: one look that fails, and nobody of the state comes in; one that succeeds, and all do."""
    async with knowing(tmp_path) as known:
        made = known.make()
        await known.stored.again()
        known.state.away = True
        assert not await known.stored.again()
        assert known.who(made.secret) == "away"
        assert known.who("sk-aaaaaaaaaa-" + "b" * 32) == "away"
        assert known.who("another-form") == "nobody"
        known.state.away = False
        assert await known.stored.again()
        assert known.who(made.secret) == "ann"


async def test_known_keys_go_on_for_the_declared_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And no longer; one that nobody knows never comes in."""
    monkeypatch.setattr(stored_keys, "LOOK", 0.02)
    async with knowing(tmp_path, Auth(store_away="known-keys", store_grace=1.0)) as known:
        made = known.make()
        await known.stored.open()
        known.state.away = True
        assert not await known.stored.again()
        assert known.who(made.secret) == "ann"
        unknown = "sk-aaaaaaaaaa-" + "b" * 32
        assert known.who(unknown) == "nobody"
        await until(known, made.secret, "away")
        known.state.away = False
        await until(known, made.secret, "ann")


async def test_a_state_that_hangs_is_a_state_that_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is waited for by one thread, however long it hangs, and it is not asked a second time meanwhile."""
    monkeypatch.setattr(stored_keys, "PATIENCE", 0.1)
    async with knowing(tmp_path) as known:
        made = known.make()
        await known.stored.again()
        known.state.gate.clear()
        asked = known.state.asked
        for _ in range(3):
            assert not await known.stored.again()
        assert known.state.asked == asked + 1
        assert known.who(made.secret) == "away"
        known.state.gate.set()
        async with asyncio.timeout(20):
            while not await known.stored.again():
                pass
        assert known.who(made.secret) == "ann"


async def test_a_state_that_was_set_back_is_read_whole(tmp_path: Path) -> None:
    """A backup knows less: keys that were made since are gone, and one that was revoked since holds again."""
    async with knowing(tmp_path) as known:
        first = known.make()
        await known.stored.again()
        older = known.state._store
        later = tmp_path / "later"
        later.mkdir()
        found = pepper.read(known.url, "", {})
        assert found is not None
        known.state._store = Store(f"sqlite:///{later / 'state.db'}")
        lost = [keys.create(known.state._store, found, Wanted(name="bob", tenant="t"), time.time()) for _ in range(5)]
        await known.stored.again()
        known.state._store.close()
        known.state._store = older
        assert await known.stored.again()
        assert known.who(first.secret) == "ann"
        assert {known.who(one.secret) for one in lost} == {"nobody"}


async def test_a_pepper_that_others_may_read_lets_nobody_in(tmp_path: Path) -> None:
    async with knowing(tmp_path) as known:
        made = known.make()
        (tmp_path / "state.pepper").chmod(0o644)
        assert not await known.stored.again()
        assert known.who(made.secret) == "away"
