"""A reload: everywhere or nowhere, once for many signals, and told."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.cli.console import run
from tests.fakes.gateway import Gateway, StartGateway
from tests.fakes.raw import once
from tests.gateway.canaries import until_workers
from tests.gateway.test_life import config, free_port

from penstock.faults.engine import Engine
from penstock.gateway.peers import ask

pytestmark = pytest.mark.asyncio


async def test_both_workers_take_a_reload_or_none_does(gateway: StartGateway, scripted_engine: Engine) -> None:
    """Ordered over the socket of either, or by a signal to the process that watches them. Rows of `make faults` let one hang."""
    one = await gateway(config(scripted_engine, workers=2, listen=[f"127.0.0.1:{free_port()}"]))
    await until_workers(one, 2)
    paths, good = sockets(one), one.config.read_text()
    write(one, "second")
    assert (await told(paths[1], "POST", "/reload"))["reloaded"]
    assert await served(paths) == [{"m", "second"}] * 2

    one.config.write_text("aliases: {m: {targets: []}}\n")
    assert "cannot be used" in (await told(paths[1], "POST", "/reload"))["problem"]
    assert await served(paths) == [{"m", "second"}] * 2
    assert await figure(one, "penstock_config_last_reload_successful") == 0.0

    one.config.write_text(good)
    write(one, "third")
    one.process.send_signal(signal.SIGHUP)
    await one.until("/ready", lambda page: "third" in page["aliases"])
    assert await served(paths) == [{"m", "third"}] * 2
    assert await figure(one, "penstock_config_last_reload_successful") == 1.0


async def test_many_signals_are_few_reloads_and_the_last_one_counts(
    gateway: StartGateway, scripted_engine: Engine
) -> None:
    one = await gateway(config(scripted_engine, listen=[f"127.0.0.1:{free_port()}"]))
    for number in range(50):
        write(one, f"n{number}")
        one.process.send_signal(signal.SIGHUP)
    await one.until("/ready", lambda page: "n49" in page["aliases"])
    assert 1 <= await figure(one, 'penstock_config_reloads_total{result="done"}') <= 50


async def test_the_verb_says_what_came_of_it(gateway: StartGateway, scripted_engine: Engine, tmp_path: Path) -> None:
    one = await gateway(config(scripted_engine, listen=[f"127.0.0.1:{free_port()}"]))
    write(one, "second")
    done = await asyncio.to_thread(run, tmp_path, "reload", "--config", str(one.config))
    assert (done.code, done.out) == (0, "the configuration is served by all workers\n")
    admin = sockets(one)[0]
    one.config.write_text("lissten: [x]\n")
    refused = await asyncio.to_thread(run, tmp_path, "reload", "--admin", admin)
    assert refused.code == 1
    assert "lissten" in refused.err
    assert (await once(one.url, "/ready")).status == 200


def write(one: Gateway, alias: str) -> None:
    """The configuration as it was, with this alias beside `m`."""
    settings = yaml.safe_load(one.config.read_text())
    target = {"targets": [{"backends": ["first"], "model": "m"}]}
    one.config.write_text(yaml.safe_dump({**settings, "aliases": {"m": settings["aliases"]["m"], alias: target}}))


def sockets(one: Gateway) -> list[str]:
    admin: str = yaml.safe_load(one.config.read_text())["admin"]
    return [admin, f"{admin}.1"]


async def told(path: str, method: str, route: str) -> dict[str, Any]:
    async with asyncio.timeout(30):
        answer: dict[str, Any] = json.loads(await ask(path, method, route))
    return answer


async def served(paths: list[str]) -> list[set[str]]:
    return [set((await told(path, "GET", "/status"))["aliases"]) for path in paths]


async def figure(one: Gateway, name: str) -> float:
    text = (await once(one.url, "/metrics")).body.decode()
    return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name))
