"""A shadow and its process: it ends with it, writes where it can, and is shared by workers."""

from __future__ import annotations

import socket
import sqlite3
from pathlib import Path
from typing import Any

import yaml
from tests.fakes.gateway import Config, Gateway, StartGateway
from tests.fakes.raw import once
from tests.gateway.shadow.site import chat, counted, kept, until

from penstock.faults.engine import Engine
from penstock.faults.script import Script


def shadowed(first: Engine, second: Engine, **more: Any) -> Config:  # noqa: ANN401 - a test's configuration
    return {
        "backends": {
            "first": {"kind": "vllm", "url": first.url},
            "second": {"kind": "vllm", "url": second.url},
        },
        "aliases": {
            "m": {
                "targets": [{"backends": ["first"], "model": "m"}],
                "shadow": {"backends": ["second"], "model": "m", "share": "100%", "slots": 50},
            }
        },
        **more,
    }


async def ask(gateway: Gateway, count: int = 1) -> None:
    for _ in range(count):
        assert (await once(gateway.url, "/v1/chat/completions", chat())).status == 200


async def pairs(gateway: Gateway, count: int) -> None:
    await until(gateway.url, "penstock_shadow_pairs_total", lambda found: sum(found.values()) == count)


def state(gateway: Gateway) -> Path:
    return Path(yaml.safe_load(gateway.config.read_text(encoding="utf-8"))["state"].removeprefix("sqlite:///"))


async def test_a_drain_waits_for_no_shadow(gateway: StartGateway, scripted_engine: Engine) -> None:
    async with Engine(["m"], script=Script(silent=True)) as second:
        # both limits are far above what a test may take: only a drain that does not wait can end this
        running = await gateway(shadowed(scripted_engine, second, limits={"drain": "5m", "total": "10m"}))
        await ask(running, 3)
        await second.seen(3)
        assert await running.stop() == 0
        await second.aborted(3)
        assert not kept(running, "m")


async def test_what_was_answered_before_the_drain_is_kept(gateway: StartGateway, scripted_engine: Engine) -> None:
    async with Engine(["m"]) as second:
        running = await gateway(shadowed(scripted_engine, second))
        await ask(running, 5)
        await pairs(running, 5)
        assert await running.stop() == 0
        assert len(kept(running, "m")) == 5


async def test_a_state_that_cannot_be_written_costs_pairs_and_nothing_else(
    gateway: StartGateway, scripted_engine: Engine
) -> None:
    async with Engine(["m"]) as second:
        running = await gateway(shadowed(scripted_engine, second))
        await ask(running)
        await pairs(running, 1)
        with sqlite3.connect(state(running)) as raw:
            raw.execute("ALTER TABLE pairs RENAME TO hidden")
        await ask(running, 3)
        await until(running.url, "penstock_shadow_skipped_total", lambda found: found.get(("m", "state")) == 3)
        with sqlite3.connect(state(running)) as raw:
            raw.execute("ALTER TABLE hidden RENAME TO pairs")
        raw.close()
        await ask(running)
        await pairs(running, 2)
        assert running.log.count("pairs of shadows cannot be written") == 1
        assert len(kept(running, "m")) == 2


async def test_workers_keep_their_pairs_together(gateway: StartGateway, scripted_engine: Engine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    async with Engine(["m"]) as second:
        running = await gateway(shadowed(scripted_engine, second, workers=2, listen=[f"127.0.0.1:{port}"]))
        await until(running.url, "penstock_shadow_active", lambda _: True)
        await ask(running, 12)
        await pairs(running, 12)
        assert len(kept(running, "m")) == 12
        assert (await counted(running.url, "penstock_shadow_sent_total"))["m", "second"] == 12
