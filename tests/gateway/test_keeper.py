"""The thread between the loop and the state: what it is told survives a state that goes away, and nothing is given back twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from penstock.gateway.keeper import Keeper
from penstock.gateway.places import Places
from penstock.state.budgets import Budgets
from penstock.state.row import Grant, Row, Sum, Want, Whose
from penstock.state.store import Store
from penstock.state.usage import Usage

pytestmark = pytest.mark.asyncio

DAY = Row("key:a", "tokens_per_day", "2026-11-21")
WANT = Want(DAY, 1000, 10, 100)


class Site:
    """A keeper and the file it keeps things in."""

    def __init__(self, file: Path, keeper: Keeper) -> None:
        self.file = file
        self.keeper = keeper

    async def take(self) -> Sequence[Grant] | None:
        """One block, as the loop is told of it."""
        told: asyncio.Future[Sequence[Grant] | None] = asyncio.get_running_loop().create_future()
        self.keeper.take([WANT], told.set_result)
        async with asyncio.timeout(30):
            return await told

    @property
    def away(self) -> Path:
        return self.file.with_name("away.db")

    def taken(self) -> float:
        with Store(f"sqlite:///{self.file}") as store:
            return Budgets(store).taken(DAY)


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Site]:
    file = folder / "state.db"
    places = Places(f"sqlite:///{file}")
    keeper = Keeper(places.store)
    try:
        yield Site(file, keeper)
    finally:
        await asyncio.to_thread(keeper.close)
        places.close()


async def test_blocks_come_and_go(tmp_path: Path) -> None:
    async with running(tmp_path) as one:
        assert await one.take() == [Grant(100, 900.0)]
        one.keeper.change(DAY, -60)
        one.keeper.change(DAY, 25)
        assert await one.take() == [Grant(100, 835.0)]
        one.keeper.use({Whose("2026-11-21", "red", "k"): Sum(1, 0, 2, 3)})
    assert one.taken() == 165
    with Store(f"sqlite:///{one.file}") as store:
        assert Usage(store).since("2026-11-21")[0].sum == Sum(1, 0, 2, 3)


async def test_the_state_goes_away_and_comes_back(tmp_path: Path) -> None:
    """What is owed and what was used is kept; what was to be given back is not, for nobody knows whether it was."""
    async with running(tmp_path) as one:
        await one.take()
        one.file.rename(one.away)
        assert await one.take() is None
        one.keeper.change(DAY, 7)
        other = Row("key:b", "tokens_per_day", "2026-11-21")
        one.keeper.change(other, -50)
        one.keeper.use({Whose("2026-11-21", "red", "k"): Sum(1)})
        assert await one.take() is None
        one.keeper.use({Whose("2026-11-21", "red", "k"): Sum(1)})
        assert one.keeper.failures >= 2
        assert not one.file.exists()
        one.away.rename(one.file)
        assert await one.take() is not None
    assert one.taken() == 207
    with Store(f"sqlite:///{one.file}") as store:
        assert Usage(store).since("2026-11-21")[0].sum.requests == 2


async def test_another_file_in_its_place_is_the_state(tmp_path: Path) -> None:
    """As after a restore by hand."""
    async with running(tmp_path) as one:
        await one.take()
        with Store(f"sqlite:///{tmp_path / 'other.db'}") as other:
            Budgets(other).take([Want(DAY, 1000, 500, 500)])
        one.file.rename(one.away)
        for suffix in ("-wal", "-shm"):
            one.file.with_name(f"state.db{suffix}").unlink(missing_ok=True)
        (tmp_path / "other.db").rename(one.file)
        assert await one.take() == [Grant(100, 400.0)]


async def test_slots_are_lent_and_kept(tmp_path: Path) -> None:
    async with running(tmp_path) as one:
        slots = Want(Row("key:a", "concurrent"), 3, 1, 2, slots=True)
        told: asyncio.Queue[object] = asyncio.Queue()
        one.keeper.take([slots], told.put_nowait)
        assert await told.get() == [Grant(2, 1.0)]
        one.keeper.renew({"key:a": 2}, told.put_nowait)
        assert await told.get() == {"key:a": 2}
        one.keeper.keep_slots("key:a", 0)
        one.keeper.renew({"key:a": 2}, told.put_nowait)
        assert await told.get() == {}


async def test_many_orders_at_once(tmp_path: Path) -> None:
    """More than one transaction takes; each is answered, in order."""
    async with running(tmp_path) as one:
        told: list[float] = []
        done = asyncio.Event()

        def hear(grants: Sequence[Grant] | None) -> None:
            assert grants is not None
            told.append(grants[0].left)
            if len(told) == 600:
                done.set()

        for _ in range(600):
            one.keeper.take([Want(DAY, 10_000, 1, 1)], hear)
        async with asyncio.timeout(40):
            await done.wait()
    assert told == [float(10_000 - number) for number in range(1, 601)]
