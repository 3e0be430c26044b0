"""Keys of machines that share nothing but a PostgreSQL: ended elsewhere, and what holds while the server is away (row 24)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from tests.fakes.postgres import Postgres, postgres

from penstock.faults.gateways import Gateway
from penstock.faults.scenarios.keys import key_of, order
from penstock.faults.site import Site, engines, folder

__all__ = ["postgres"]

PEPPER = {"PENSTOCK_TEST_PEPPER": "ab" * 32}


@pytest_asyncio.fixture
async def site() -> AsyncIterator[Site]:
    async with engines() as (a, b), folder() as place:
        yield Site(a, b, Gateway(""), place)


def changes(state: str, **auth: object) -> dict[str, Any]:
    return {"state": state, "auth": {"keys": "always", "pepper_env": "PENSTOCK_TEST_PEPPER", **auth}}


async def becomes(own: Site, key: str, status: int) -> None:
    shown = {"authorization": f"Bearer {key}"}
    async with asyncio.timeout(30):
        while (await own.ask(stream=False, headers=shown)).status != status:  # noqa: ASYNC110 - another process finds out
            await asyncio.sleep(0.05)


@pytest.mark.timeout(180)
async def test_a_key_begins_and_ends_on_another_machine(site: Site, postgres: Postgres) -> None:
    state = postgres.database()
    async with contextlib.AsyncExitStack() as life:
        here, there = [await life.enter_async_context(site.penstock(changes(state), env=PEPPER)) for _ in range(2)]
        key = await key_of(here, "ann")
        await becomes(here, key, 200)
        await becomes(there, key, 200)
        await order(there, "revoke", key="ann")
        await becomes(there, key, 401)
        await becomes(here, key, 401)


@pytest.mark.timeout(180)
async def test_a_server_that_is_away_or_stands_still_lets_nobody_in(site: Site, postgres: Postgres) -> None:
    """And everybody again when it is back, without anybody doing anything."""
    state = postgres.database()
    async with site.penstock(changes(state), env=PEPPER) as own:
        own.own.checked = False  # the pool's library logs connections that died under it with their traceback
        key = await key_of(own, "ann")
        await becomes(own, key, 200)
        with postgres.standing_still():
            await becomes(own, key, 503)
        await becomes(own, key, 200)
        postgres.stop()
        try:
            await becomes(own, key, 503)
        finally:
            postgres.start()
        await becomes(own, key, 200)
        await own.logged(event="keys can be read again")


@pytest.mark.timeout(180)
async def test_known_keys_go_on_without_the_server(site: Site, postgres: Postgres) -> None:
    state = postgres.database()
    async with site.penstock(changes(state, store_away="known-keys", store_grace="5s"), env=PEPPER) as own:
        own.own.checked = False  # likewise
        key = await key_of(own, "ann")
        await becomes(own, key, 200)
        postgres.stop()
        try:
            await own.logged(event="keys cannot be read")
            assert (await own.ask(stream=False, headers={"authorization": f"Bearer {key}"})).status == 200
            await becomes(own, key, 503)
        finally:
            postgres.start()
        await becomes(own, key, 200)
