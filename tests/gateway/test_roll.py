"""The roll of the fleet: the file, orders and names, against real engines; only what a name leads to is told by the test."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from penstock.config import Alias, Backend, Config, Target
from penstock.errors import BadRequest, EngineFault
from penstock.faults.engine import Engine
from penstock.gateway import probe
from penstock.gateway.fleet import Fleet
from penstock.gateway.roll import Roll
from penstock.types import Kind

LIMIT = 10.0


class Site:
    """Two engines, and a fleet that knows the first."""

    def __init__(self, first: Engine, second: Engine, path: Path) -> None:
        self.first, self.second, self.path = first, second, path
        self.addresses: dict[str, frozenset[str]] = {}
        self.reads: list[str] = []
        self.changes = 0
        backends = {"gpu": Backend(kind=Kind.VLLM, url=first.url)}
        self.fleet = Fleet(Config(backends=backends, aliases={"m": _alias("gpu")}))
        self.roll = Roll(self.fleet, str(path), self.reads.append, self._changed, self._resolve)

    def _changed(self) -> None:
        self.changes += 1

    async def _resolve(self, name: str) -> frozenset[str]:
        found = self.addresses.get(name)
        if found is None:
            raise OSError("no such name")
        return found

    def write(self, text: str) -> None:
        beside = self.path.with_suffix(".new")
        beside.write_text(text, encoding="utf-8")
        beside.replace(self.path)

    @property
    def urls(self) -> set[str]:
        return {one.settings.url for one in self.fleet.of(("gpu",))}


def _alias(*names: str) -> Alias:
    return Alias(targets=(Target(backends=names, model="m"),))


@pytest_asyncio.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with Engine(["m"]) as first, Engine(["m"]) as second:
        one = Site(first, second, tmp_path / "fleet.yaml")
        await one.roll.start()
        await one.fleet.start()
        yield one
        await one.roll.stop()
        await one.fleet.stop()


async def test_without_a_file_a_backend_is_its_url(site: Site) -> None:
    await site.roll.look()
    assert site.urls == {site.first.url}
    assert site.reads == []


async def test_a_file_is_taken_when_it_changes_and_let_go_when_it_is_gone(site: Site) -> None:
    site.write(f"replicas: {{gpu: [{site.second.url}/v1]}}")
    await site.roll.look()
    assert site.urls == {site.second.url}
    await site.roll.look()
    assert site.changes == 2  # the first is the start
    site.path.unlink()
    await site.roll.look()
    assert site.urls == {site.first.url}
    assert site.reads == ["taken", "taken"]
    assert site.changes == 3


@pytest.mark.parametrize(
    "text",
    [
        "replicas: [",
        "replicas: {gpu: []}",
        "replicas: {gpu: [http://x/v1/v1]}",
        "replica: {}",
        "- a",
        "x: " + "y" * 2_000_000,
    ],
)
async def test_a_file_that_cannot_be_used_changes_nothing(site: Site, text: str) -> None:
    site.write(f"replicas: {{gpu: [{site.second.url}]}}")
    await site.roll.look()
    site.write(text)
    await site.roll.look()
    await site.roll.look()
    assert site.urls == {site.second.url}
    assert site.reads == ["taken", "refused"]


async def test_a_name_that_is_no_backend_yet_waits_for_one(site: Site) -> None:
    site.write(f"replicas: {{later: [http://10.0.0.1:1], gpu: [{site.second.url}]}}")
    await site.roll.look()
    assert site.urls == {site.second.url}
    backends = {**site.fleet.settings.backends, "later": Backend(kind=Kind.VLLM, url="http://10.0.0.2:1")}
    site.fleet.adopt(Config(backends=backends, aliases={"m": _alias("gpu", "later")}))
    assert [one.settings.url for one in site.fleet.of(("later",))] == ["http://10.0.0.1:1"]


async def test_an_order_is_kept_in_the_file(site: Site) -> None:
    await site.roll.add("gpu", site.second.url)
    assert site.urls == {site.first.url, site.second.url}
    again = Site(site.first, site.second, site.path)
    await again.roll.start()
    assert again.urls == site.urls
    await again.roll.stop()
    await again.fleet.stop()
    await site.roll.remove("gpu", site.first.url)
    assert site.urls == {site.second.url}
    with pytest.raises(BadRequest):
        await site.roll.remove("gpu", site.second.url)


async def test_an_order_that_cannot_be_written_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file where a folder should be", encoding="utf-8")
    async with Engine(["m"]) as first, Engine(["m"]) as second:
        site = Site(first, second, tmp_path / "taken" / "fleet.yaml")
        await site.roll.start()
        with pytest.raises(BadRequest, match="Writing the fleet file"):
            await site.roll.add("gpu", second.url)
        assert site.urls == {first.url}
        await site.roll.stop()
        await site.fleet.stop()


async def test_a_replica_that_is_removed_ends_what_it_has_begun(site: Site) -> None:
    await site.roll.add("gpu", site.second.url)
    gone = next(one for one in site.fleet.of(("gpu",)) if one.settings.url == site.second.url)
    assert gone.origin is not None
    trial = gone.take(0.0)
    begun = asyncio.create_task(probe.get(gone.origin, "/health", b"", LIMIT))
    site.second.mute.add("/health")
    await site.second.until(lambda: any(one.path == "/health" for one in site.second.probes), "a question under way")
    await site.roll.remove("gpu", site.second.url)
    assert gone.retired
    assert gone.name not in site.fleet.backends
    assert not begun.done()
    gone.give(trial)
    with pytest.raises(EngineFault, match="taken out"):
        await begun


async def test_names_lead_to_replicas_and_an_outage_takes_none_away(tmp_path: Path) -> None:
    async with Engine(["m"]) as first, Engine(["m"]) as second:
        site = Site(first, second, tmp_path / "fleet.yaml")
        url = f"http://engines.test:{first.port}"
        backends = {"gpu": Backend(kind=Kind.VLLM, url=url, resolve="each")}
        site.fleet.settings = Config(backends=backends, aliases={"m": _alias("gpu")})
        site.addresses["engines.test"] = frozenset({"127.0.0.1", "127.0.0.2"})
        await site.roll.start()
        both = {f"http://127.0.0.1:{first.port}", f"http://127.0.0.2:{first.port}"}
        assert site.urls == both
        del site.addresses["engines.test"]
        await site.roll.ask_names()
        assert site.urls == both
        site.addresses["engines.test"] = frozenset({"127.0.0.1"})
        await site.roll.ask_names()
        assert site.urls == {f"http://127.0.0.1:{first.port}"}
        await site.roll.stop()
        await site.fleet.stop()


async def test_a_file_is_read_as_it_was_written(site: Site) -> None:
    """What an order writes has the same permissions as any file of ours, and nothing is left beside it."""
    await site.roll.add("gpu", site.second.url)
    assert [one.name for one in site.path.parent.iterdir()] == ["fleet.yaml"]
    assert os.access(site.path, os.R_OK)
