"""The way back: at once, with every request answered, and what is under way ends on what it began with."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio
import yaml
from tests.cli.console import SCRIPT, clean
from tests.fakes.gateway import StartGateway
from tests.fakes.raw import Raw, once
from tests.gateway.canaries import admin, config, happened, start, talk, until, until_workers
from tests.gateway.test_life import BODY, asking, errors_to, free_port, port_of, start_beside

from penstock.faults.condition import Model
from penstock.faults.engine import Engine
from penstock.faults.ollama import OllamaDouble
from penstock.faults.script import Script
from penstock.state.switch import Switch

pytestmark = pytest.mark.asyncio

AGREED = 60.0
"""Seconds that the documents allow for a rollback."""
SLOWLY = Script(count=40, gap=0.03)


@pytest_asyncio.fixture
async def old() -> AsyncIterator[Engine]:
    async with Engine(["m"]) as engine:
        yield engine


@pytest_asyncio.fixture
async def new() -> AsyncIterator[Engine]:
    async with Engine(["m"]) as engine:
        yield engine


@pytest.mark.parametrize("promoted", [False, True])
async def test_rollback_under_load(gateway: StartGateway, old: Engine, new: Engine, *, promoted: bool) -> None:
    """S1.40, S3.16: the old path is back at once; nobody gets an error, and a stream ends where it began."""
    one = await gateway(config(old, new))
    await start(one, steps=[100])
    if promoted:
        await admin(one, "/canary/promote", {"alias": "m"})
    async with asking(port_of(one.url), 6) as askers, Raw(one.url) as streaming:
        await asyncio.gather(*(asker.more(10) for asker in askers))
        new.script = SLOWLY
        streaming.ask("/v1/chat/completions", json.loads(BODY) | {"stream": True})
        await streaming.until(b"data: ")
        began = time.monotonic()
        assert (await admin(one, "/rollback", {"alias": "m"})).status == 200
        answer = await talk(one.url, 1)
        took = time.monotonic() - began
        await asyncio.gather(*(asker.more(20) for asker in askers))
        streamed = await streaming.answer()
    assert answer.header("x-penstock-backend") == "old"
    assert took < AGREED
    assert [asker.lost for asker in askers] == [[] for _ in askers]
    assert streamed.header("x-penstock-backend") == "new"
    assert streamed.events[-1] == b"data: [DONE]"


@asynccontextmanager
async def serving(folder: Path, name: str, *arguments: str, **env: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """`penstock serve` as somebody would start it: with names in the environment and no file."""
    process = await asyncio.create_subprocess_exec(
        *(str(SCRIPT), "serve", *arguments),
        cwd=folder,
        env=clean(env),
        stdout=asyncio.subprocess.PIPE,
        stderr=errors_to(folder / f"{name}.log"),
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(30):
            line = await process.stdout.readline()
        assert line, (folder / f"{name}.log").read_text()
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        async with asyncio.timeout(30):
            await process.wait()


async def test_use_vllm_false_brings_ollama_back_within_a_minute(
    tmp_path: Path, new: Engine, ollama_double: OllamaDouble
) -> None:
    """S1.40, S1.3, S1.26, X3: one name in the environment and a takeover, under load; no request is lost, none is cut."""
    new.models = {"llama3.2": Model("llama3.2")}
    env = {
        "VLLM_HOST": new.url,
        "VLLM_FALLBACK": ollama_double.url,
        "VLLM_MODEL": "llama3.2",
        "PENSTOCK_LISTEN": f"127.0.0.1:{free_port()}",
    }
    url = f"http://{env['PENSTOCK_LISTEN']}"
    body = json.loads(BODY) | {"model": "llama3.2"}
    async with AsyncExitStack() as life:
        first = await life.enter_async_context(serving(tmp_path, "first", USE_VLLM="true", **env))
        async with asking(port_of(url), 6, json.dumps(body).encode()) as askers, Raw(url) as streaming:
            await asyncio.gather(*(asker.more(20) for asker in askers))
            assert (await once(url, "/v1/chat/completions", body)).header("x-penstock-backend") == "vllm"
            new.script = SLOWLY
            streaming.ask("/v1/chat/completions", body | {"stream": True})
            await streaming.until(b"data: ")
            began = time.monotonic()
            await life.enter_async_context(serving(tmp_path, "second", "--takeover", USE_VLLM="false", **env))
            # The old process takes in what waited at its door when it was told; then it is Ollama for good.
            while (await once(url, "/v1/chat/completions", body)).header("x-penstock-backend") != "ollama":
                assert time.monotonic() - began < AGREED
            took = time.monotonic() - began
            streamed = await streaming.answer()
            assert await first.wait() == 0
            by_vllm = new.answered
            await asyncio.gather(*(asker.more(20) for asker in askers))
            assert new.answered == by_vllm
    assert took < AGREED
    assert streamed.events[-1] == b"data: [DONE]"
    assert [asker.lost for asker in askers] == [[] for _ in askers]


async def test_going_back_does_not_wait_for_the_disk(gateway: StartGateway, old: Engine, new: Engine) -> None:
    """S1.40: where the state cannot be written, all workers obey all the same, and it is written as soon as it can be."""
    one = await gateway(config(old, new, workers=2, listen=[f"127.0.0.1:{free_port()}"]))
    await until_workers(one, 2)
    await start(one, steps=[100])
    state = yaml.safe_load(one.config.read_text())["state"].removeprefix("sqlite:///")
    with contextlib.closing(sqlite3.connect(state, isolation_level=None)) as raw:
        raw.execute("ALTER TABLE events RENAME TO gone")
        told = await admin(one, "/rollback", {"alias": "m"})
        assert (told.status, told.data["unwritten"]) == (200, True)
        for number in range(20):
            assert (await talk(one.url, number)).header("x-penstock-backend") == "old"
        assert "obeyed, but not written" in one.log
        raw.execute("ALTER TABLE gone RENAME TO events")
        await until(one, lambda told: happened(told, "rollback"))
        ((body,),) = raw.execute("SELECT body FROM switches")
    assert Switch(alias="m", revision=2) == msgspec.json.decode(body, type=Switch)


async def test_a_takeover_goes_on_with_what_was_switched(
    gateway: StartGateway, old: Engine, new: Engine, tmp_path: Path
) -> None:
    """S1.32, S3.25: a new process obeys from its first request, and what it switches back is not lost either."""
    one = await gateway(config(old, new))
    port = port_of(one.url)
    settings = yaml.safe_load(one.config.read_text()) | {"listen": [f"127.0.0.1:{port}"]}
    one.config.write_text(yaml.safe_dump(settings))
    await start(one, steps=[100])
    async with asking(port, 4) as askers:
        await asyncio.gather(*(asker.more(10) for asker in askers))
        by_old = old.answered
        second = await start_beside(one.config, tmp_path / "second.log", "--takeover")
        async with asyncio.timeout(30):
            assert await one.process.wait() == 0
        await asyncio.gather(*(asker.more(10) for asker in askers))
        assert old.answered == by_old
        assert (await admin(one, "/rollback", {"alias": "m"})).status == 200
        assert (await talk(one.url, 1)).header("x-penstock-backend") == "old"
        await asyncio.gather(*(asker.more(10) for asker in askers))
    second.terminate()
    assert await second.wait() == 0
    assert [asker.lost for asker in askers] == [[] for _ in askers]


async def test_a_reload_brings_ollama_back_without_a_lost_request(
    gateway: StartGateway, new: Engine, ollama_double: OllamaDouble
) -> None:
    """S1.40, S3.16: the same by the file: Ollama first again, SIGHUP."""
    targets = [{"backends": ["gpu"], "model": "m"}, {"backends": ["spare"], "model": "llama3.2"}]
    one = await gateway(
        {
            "backends": {
                "gpu": {"kind": "vllm", "url": new.url, "probe": "200ms"},
                "spare": {"kind": "ollama", "url": ollama_double.url, "probe": "200ms"},
            },
            "aliases": {"m": {"targets": targets}},
        }
    )
    settings = yaml.safe_load(one.config.read_text())
    async with asking(port_of(one.url), 6) as askers:
        await asyncio.gather(*(asker.more(20) for asker in askers))
        settings["aliases"]["m"]["targets"] = targets[::-1]
        one.config.write_text(yaml.safe_dump(settings))
        began = time.monotonic()
        one.process.send_signal(signal.SIGHUP)
        while (await talk(one.url, 1)).header("x-penstock-backend") != "spare":
            assert time.monotonic() - began < AGREED
        await asyncio.gather(*(asker.more(20) for asker in askers))
    assert [asker.lost for asker in askers] == [[] for _ in askers]


async def test_many_orders_under_load_lose_nothing(gateway: StartGateway, old: Engine, new: Engine) -> None:
    """S3.25: start, grow, promote, roll back, again and again, while callers ask."""
    one = await gateway(config(old, new))
    async with asking(port_of(one.url), 6) as askers:
        for _ in range(5):
            await start(one, steps=[30])
            await asyncio.gather(*(asker.more(2) for asker in askers))
            await start(one, steps=[100])
            await asyncio.gather(*(asker.more(2) for asker in askers))
            await admin(one, "/canary/promote", {"alias": "m"})
            await asyncio.gather(*(asker.more(2) for asker in askers))
            await admin(one, "/rollback", {"alias": "m"})
            await asyncio.gather(*(asker.more(2) for asker in askers))
    assert [asker.lost for asker in askers] == [[] for _ in askers]
