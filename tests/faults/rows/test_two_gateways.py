"""Two gateways on one PostgreSQL, 64 clients and random kills: quotas exact to the bound (issue: done when; row 36 of the faults).

The same scenarios run on one SQLite file with the rest of the catalogue; this adds the database of several machines, and
what happens to it: stopped, standing still, and back.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from tests.fakes.postgres import Postgres, postgres

from penstock.faults.gateways import Gateway
from penstock.faults.scenarios.budgets import limited, once, shared
from penstock.faults.site import Site, engines, folder

__all__ = ["postgres"]


@pytest_asyncio.fixture
async def site() -> AsyncIterator[Site]:
    async with engines() as (a, b), folder() as place:
        yield Site(a, b, Gateway(""), place)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("kills", [0, 8])
async def test_together_they_spend_what_is_there(site: Site, postgres: Postgres, kills: int) -> None:
    await shared(site, postgres.database(), kills=kills)


@pytest.mark.timeout(180)
async def test_the_server_goes_away_and_comes_back(site: Site, postgres: Postgres) -> None:
    """Stopped, or standing still with open connections: who has limits is refused in time, others are served, and it ends by itself."""
    state = postgres.database()
    changes = limited({"requests_per_minute": 40}, state)
    async with site.penstock(changes) as one:
        assert (await once(one.url)).status == 200
        with postgres.standing_still():
            assert (await once(one.url)).status == 503
        await _again(one)
        postgres.stop()
        try:
            seen = await once(one.url)
            assert (seen.status, "limits" in seen.error) == (503, True)
        finally:
            postgres.start()
        await _again(one)
        await one.logged(event="budgets can be asked for again")


async def _again(one: Site) -> None:
    async with asyncio.timeout(30):
        while (await once(one.url)).status != 200:  # noqa: ASYNC110 - another process finds out by itself
            await asyncio.sleep(0.2)
