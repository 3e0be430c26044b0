"""A gateway whose aliases have shadows, its engines, and what became of the copies: from figures and from the state."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import yaml
from tests.fakes.gateway import Gateway, Gateways
from tests.fakes.raw import Answer, once

from penstock.agreement.pair import Pair, loaded
from penstock.faults.engine import Engine
from penstock.faults.ollama import OllamaDouble
from penstock.faults.record import Journal
from penstock.faults.script import HEALTHY
from penstock.state.pairs import Pairs
from penstock.state.store import Store

SHARED = pytest.mark.asyncio(loop_scope="module")
WAIT = 15.0
"""Seconds a wait may take before its test fails."""
HELLO: list[dict[str, Any]] = [{"role": "user", "content": "hello wide world"}]

_LABEL = re.compile(r'(\w+)="([^"]*)"')

Counts = dict[tuple[str, ...], float]


def chat(model: str = "m", **fields: object) -> dict[str, Any]:
    return {"model": model, "messages": HELLO, **fields}


async def page(url: str) -> str:
    """The figures as a scrape reads them."""
    return (await once(url, "/metrics")).body.decode()


def counts_in(page: str, name: str, **labels: str) -> Counts:
    """The samples of one metric that have these labels, by the values of their other labels."""
    found: Counts = {}
    for line in page.splitlines():
        if line.startswith(name + "{"):
            held, _, value = line.removeprefix(name + "{").rpartition("} ")
            pairs_of = dict(_LABEL.findall(held))
            if labels.items() <= pairs_of.items():
                found[tuple(text for key, text in pairs_of.items() if key not in labels)] = float(value)
    return found


async def counted(url: str, name: str, **labels: str) -> Counts:
    """The same of a gateway, now."""
    return counts_in(await page(url), name, **labels)


async def until(url: str, name: str, holds: Callable[[Counts], bool]) -> None:
    """Look at a metric until this holds of it."""
    async with asyncio.timeout(WAIT):
        while True:
            if holds(await counted(url, name)):
                return
            await asyncio.sleep(0.01)


@dataclass(slots=True)
class Alias:
    """What became of the copies of one alias since a moment."""

    site: Site
    name: str
    before: str
    """The figures of that moment."""

    async def count(self, name: str) -> dict[str, float]:
        """How much a counter has grown, by its other label."""
        return self._grown(await page(self.site.url), name)

    def _grown(self, page: str, name: str) -> dict[str, float]:
        now = counts_in(page, f"penstock_shadow_{name}_total", alias=self.name)
        old = counts_in(self.before, f"penstock_shadow_{name}_total", alias=self.name)
        return {labels[0]: value - old.get(labels, 0) for labels, value in now.items() if value != old.get(labels, 0)}

    async def over(self, copies: int, *, besides: str = "") -> dict[str, float]:
        """Wait until so many chosen requests have come to their end; the ends by name, pairs and skips together.

        `besides` names an end that does not count.
        """
        ends: dict[str, float] = {}
        try:
            async with asyncio.timeout(WAIT):
                while sum(ends.values()) - ends.get(besides, 0) < copies:
                    await asyncio.sleep(0.01)
                    figures = await page(self.site.url)
                    ends = self._grown(figures, "pairs") | self._grown(figures, "skipped")
        except TimeoutError:
            raise AssertionError(f"of {copies} copies {ends} came to an end\n{self.site.gateway.log}") from None
        return ends

    def pairs(self) -> list[Pair]:
        """What is kept of this alias, the oldest first."""
        return kept(self.site.gateway, self.name)


def kept(gateway: Gateway, alias: str) -> list[Pair]:
    """The pairs of an alias in a gateway's state."""
    url = yaml.safe_load(gateway.config.read_text(encoding="utf-8"))["state"]
    with Store(url) as store:
        return [loaded(body) for body in Pairs(store).read(alias)]


@dataclass(slots=True)
class Site:
    """The gateway and its engines."""

    gateway: Gateway
    first: Engine
    second: Engine
    ollama: OllamaDouble

    @property
    def url(self) -> str:
        return self.gateway.url

    async def watch(self, name: str) -> Alias:
        """Begin to count what becomes of an alias' copies, with no pair left of before."""
        url = yaml.safe_load(self.gateway.config.read_text(encoding="utf-8"))["state"]
        with Store(url) as store:
            Pairs(store).forget(name)
        return Alias(self, name, await page(self.url))

    async def post(self, path: str, body: object, *headers: str) -> Answer:
        return await once(self.url, path, body, *headers)

    async def heal(self) -> None:
        """Healthy engines with empty journals, and no copy under way."""
        engines = (self.first, self.second, self.ollama)
        for engine in engines:
            engine.script = HEALTHY
            engine.next.clear()
        journals: list[Journal] = list(engines)
        for journal in journals:
            for gate in journal.gates:
                gate.open()
            journal.gates.clear()
        await until(self.url, "penstock_shadow_active", lambda counts: not any(counts.values()))
        for journal in journals:
            await journal.until(lambda: not journal.running, "an idle engine")  # noqa: B023 - awaited at once
            journal.requests.clear()
            journal.aborts.clear()


def configuration(first: Engine, second: Engine, ollama: OllamaDouble) -> dict[str, Any]:
    """Every alias asks `first` but one, and has a shadow of its own sort."""
    own = [{"backends": ["first"], "model": "m"}]
    all_of_it = {"backends": ["second"], "model": "m", "share": "100%", "slots": 50, "keep": "text"}
    return {
        "backends": {
            "first": {"kind": "vllm", "url": first.url, "probe": "200ms"},
            "second": {"kind": "vllm", "url": second.url, "probe": "200ms"},
            "spare": {"kind": "ollama", "url": ollama.url, "probe": "200ms"},
            "single": {"kind": "vllm", "url": second.url, "slots": 1},
            "gone": {"kind": "vllm", "url": "http://127.0.0.1:9"},
        },
        "aliases": {
            "plain": {"targets": own},
            "m": {"targets": own, "shadow": all_of_it},
            "to-ollama": {"targets": own, "shadow": {**all_of_it, "backends": ["spare"], "model": "llama3.2"}},
            "from-ollama": {"targets": [{"backends": ["spare"], "model": "llama3.2"}], "shadow": all_of_it},
            "third": {"targets": own, "shadow": {**all_of_it, "share": "30%"}},
            "none": {"targets": own, "shadow": {**all_of_it, "share": 0}},
            "narrow": {"targets": own, "shadow": {**all_of_it, "slots": 2}},
            "tight": {"targets": own, "shadow": {**all_of_it, "backends": ["single"]}},
            "shared": {
                "targets": [{"backends": ["single"], "model": "m"}],
                "shadow": {**all_of_it, "backends": ["single"]},
            },
            "brief": {"targets": own, "shadow": {**all_of_it, "total": "200ms"}},
            "nobody": {"targets": own, "shadow": {**all_of_it, "backends": ["gone"]}},
            "mute": {
                "targets": own,
                "shadow": {"backends": ["second"], "model": "m", "share": "100%", "pairs": 3},
            },
            "falls": {
                "targets": [{"backends": ["gone"], "model": "m"}, *own],
                "shadow": all_of_it,
            },
        },
    }


@pytest.fixture(scope="module")
def lane() -> str:
    """The usual data plane; test_pairs.py takes both."""
    return "hot"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shadows(lane: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    """The site, for all tests of a module."""
    async with AsyncExitStack() as life:
        first = await life.enter_async_context(Engine(["m"]))
        second = await life.enter_async_context(Engine(["m"]))
        ollama = await life.enter_async_context(OllamaDouble(["llama3.2"]))
        folder: Path = tmp_path_factory.mktemp("shadow")
        gateways = Gateways(folder, lane)
        life.push_async_callback(gateways.close)
        gateway = await gateways.start(configuration(first, second, ollama))
        yield Site(gateway, first, second, ollama)


@pytest_asyncio.fixture(loop_scope="module")
async def site(shadows: Site) -> Site:
    """The shared site, healed."""
    await shadows.heal()
    return shadows
