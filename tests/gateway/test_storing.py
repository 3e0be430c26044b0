"""An answer that its engine stores ends for its client when the state knows where it lives; a state that hangs holds nobody up."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3

import yaml
from tests.fakes.gateway import Gateway, StartGateway
from tests.fakes.raw import once
from tests.gateway.test_life import config

from penstock.faults.engine import Engine

ASKED = {"model": "m", "input": "water"}


async def test_the_state_knows_an_answer_before_its_client_does(gateway: StartGateway, scripted_engine: Engine) -> None:
    one = await gateway(config(scripted_engine))
    for body in (ASKED, {**ASKED, "stream": True}):
        seen = await once(one.url, "/v1/responses", body)
        assert seen.status == 200
        with contextlib.closing(sqlite3.connect(state(one))) as database:
            known = {row[0] for row in database.execute("SELECT id FROM answers")}
        assert any(identity.encode() in seen.body for identity in known)
        with contextlib.closing(sqlite3.connect(state(one))) as database, database:
            database.execute("DELETE FROM answers")


async def test_a_state_that_hangs_holds_nobody_up(gateway: StartGateway, scripted_engine: Engine) -> None:
    one = await gateway(config(scripted_engine, limits={"between_tokens": "300ms"}))
    assert (await once(one.url, "/v1/responses", ASKED)).status == 200
    await written(one)
    with contextlib.closing(sqlite3.connect(state(one), isolation_level=None)) as database:
        database.execute("BEGIN EXCLUSIVE")
        seen = await once(one.url, "/v1/responses", ASKED)
        assert seen.status == 200
        identity = seen.json()["id"]
        assert await unwritten(one) == 1
        assert (await once(one.url, f"/v1/responses/{identity}")).status == 200
        database.execute("ROLLBACK")
    await written(one)
    with contextlib.closing(sqlite3.connect(state(one))) as database:
        assert (identity,) in database.execute("SELECT id FROM answers").fetchall()


def state(one: Gateway) -> str:
    url: str = yaml.safe_load(one.config.read_text())["state"]
    return url.removeprefix("sqlite:///")


async def written(one: Gateway) -> None:
    """Until the state has everything."""
    async with asyncio.timeout(30):
        while await unwritten(one):
            pass


async def unwritten(one: Gateway) -> float:
    text = (await once(one.url, "/metrics")).body.decode()
    return sum(float(line.split()[1]) for line in text.splitlines() if line.startswith("penstock_state_unwritten "))
