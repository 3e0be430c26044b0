"""`penstock replicas` against running gateways: what it orders, what it refuses, and that every worker obeys."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import yaml
from tests.cli.console import Done, run
from tests.fakes.gateway import Gateway, StartGateway
from tests.fakes.raw import once
from tests.gateway.site import chat

from penstock.faults.engine import Engine
from penstock.faults.ollama import OllamaDouble
from penstock.gateway.peers import ask

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def engines() -> AsyncIterator[tuple[Engine, Engine]]:
    async with Engine(["m"]) as first, Engine(["m"]) as second:
        yield first, second


def config(first: Engine, folder: Path) -> dict[str, Any]:
    return {
        "backends": {"gpu": {"kind": "vllm", "url": first.url, "probe": "100ms"}},
        "aliases": {"m": {"targets": [{"backends": ["gpu"], "model": "m"}]}},
        "fleet": str(folder / "fleet.yaml"),
    }


async def penstock(running: Gateway, *arguments: str) -> Done:
    """The command, for the gateway of this configuration."""
    words = ("replicas", *arguments, "--config", str(running.config))
    return await asyncio.to_thread(run, running.config.parent, *words)


async def order(running: Gateway, verb: str, backend: str, replica: str) -> Any:  # noqa: ANN401 - a document
    """What the command asks of the admin socket."""
    path = yaml.safe_load(running.config.read_text(encoding="utf-8"))["admin"]
    body = json.dumps({"backend": backend, "replica": replica}).encode()
    return json.loads(await ask(path, "POST", f"/replicas/{verb}", body))


def ready(count: int) -> Any:  # noqa: ANN401 - a condition of a document
    """Whether so many engines stand behind the alias, all ready."""

    def holds(page: Any) -> bool:  # noqa: ANN401 - a document
        targets = page["aliases"]["m"]["targets"]
        return len(targets) == count and all(one["state"] == "ready" for one in targets)

    return holds


async def test_there_and_back(gateway: StartGateway, engines: tuple[Engine, Engine], tmp_path: Path) -> None:
    first, second = engines
    one = await gateway(config(first, tmp_path))
    added = await penstock(one, "add", "gpu", f"{second.url}/v1", "--json")
    assert added.code == 0, added.err
    names = {row["url"]: row["name"] for row in added.data["backends"]["gpu"]}
    assert names[first.url] == "gpu"
    await one.until("/ready", ready(2))
    shown = await penstock(one, "list")
    assert [line.split()[:3] for line in shown.out.splitlines()[1:]] == [
        ["gpu", "gpu", first.url],
        ["gpu", names[second.url], second.url],
    ]
    removed = await penstock(one, "remove", "gpu", "gpu")
    assert first.url not in removed.out
    for _ in range(4):
        answer = await once(one.url, "/v1/chat/completions", chat())
        assert answer.header("x-penstock-backend") == names[second.url]
    assert not first.requests
    assert '"replica removed"' in one.log


async def test_it_outlasts_a_restart(gateway: StartGateway, engines: tuple[Engine, Engine], tmp_path: Path) -> None:
    first, second = engines
    one = await gateway(config(first, tmp_path))
    assert "backends" in await order(one, "add", "gpu", second.url)
    await one.stop()
    again = await gateway(config(first, tmp_path))
    await again.until("/ready", ready(2))


async def test_what_is_refused(gateway: StartGateway, engines: tuple[Engine, Engine], tmp_path: Path) -> None:
    """Each with a sentence that says why, and nothing has changed."""
    first, _ = engines
    async with OllamaDouble(["llama3.2"]) as ollama, Engine(["other"]) as other:
        one = await gateway(config(first, tmp_path))
        for words, why in (
            (("add", "gpu", ollama.url), "it serves llama3.2:latest and none of m"),
            (("add", "gpu", other.url), "it serves other and none of m"),
            (("add", "gpu", first.url), "is one already"),
            (("add", "gpi", other.url), "is no backend of penstock.yaml"),
            (("add", "gpu", "ten.0.0.1"), "a URL that begins with http"),
            (("remove", "gpu", "gpu"), "the last one"),
            (("remove", "gpu", other.url), "none of its own"),
        ):
            assert why in (await order(one, *words))["error"]
        refused = await penstock(one, "remove", "gpu", "gpu")
        assert refused.code == 1
        assert "the last one" in refused.err
    assert not (tmp_path / "fleet.yaml").exists()


async def test_one_that_is_not_up_yet_may_be_added(
    gateway: StartGateway, engines: tuple[Engine, Engine], tmp_path: Path
) -> None:
    """It gets requests once it is there."""
    first, second = engines
    await second.stop()
    one = await gateway(config(first, tmp_path))
    assert "backends" in await order(one, "add", "gpu", second.url)
    assert (await once(one.url, "/v1/chat/completions", chat())).header("x-penstock-backend") == "gpu"
    await second.start()
    await one.until("/ready", ready(2))
