"""One gateway, one real Open WebUI and one browser for all tests of this folder.

browser ── Open WebUI ──┬─ Ollama connection ─┬── gateway ──┬── guide: the embedded engine
                        ├─ OpenAI connection ─┘             └── pair: two scripted engines, `one` and `two`
                        └─ OpenAI connection ── straight: a scripted engine without a gateway, which sees what Open WebUI sends
"""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tests.fakes.gateway import Config, Gateway, Gateways
from tests.openwebui.browser import Browser
from tests.openwebui.page import Page
from tests.openwebui.webui import OpenWebUI

from penstock.faults.engine import Engine

LOGGED = 10.0


@dataclass(frozen=True)
class Site:
    """What the tests look at."""

    gateway: Gateway
    replicas: dict[str, Engine]
    straight: Engine
    page: Page

    def lines(self) -> list[dict[str, Any]]:
        """The gateway's log of requests."""
        lines = [json.loads(line) for line in self.gateway.log.splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] == "request"]

    async def logged(self, count: int, **wanted: object) -> dict[str, Any]:
        """Wait for a request after the first `count` whose line says all this."""
        end = time.monotonic() + LOGGED
        while time.monotonic() < end:
            for line in self.lines()[count:]:
                if wanted.items() <= line.items():
                    return line
            await asyncio.sleep(0.05)
        raise AssertionError(f"no request was logged as {wanted}: {self.lines()[count:]}")


def config(replicas: dict[str, Engine]) -> Config:
    return {
        "backends": {
            "local": {"kind": "embedded", "model": "guide"},
            **{name: {"kind": "vllm", "url": engine.url} for name, engine in replicas.items()},
        },
        "aliases": {
            "guide": {"targets": [{"backends": ["local"], "model": "guide"}]},
            "pair": {"targets": [{"backends": list(replicas), "model": "m"}]},
        },
        "log": {"format": "json", "requests": True},
    }


def program(*names: str) -> str:
    found = next((path for name in names if (path := shutil.which(name))), None)
    if found is None:
        raise FileNotFoundError(f"looking for a browser: none of {names} is installed; try tests/openwebui/install")
    return found


@asynccontextmanager
async def visited(
    ollama: str, openai: Sequence[str], folder: Path, settings: Mapping[str, str] | None = None
) -> AsyncIterator[Page]:
    """A fresh Open WebUI with these connections and settings, in a fresh browser."""
    webui = await OpenWebUI.start(ollama, openai, folder, settings or {})
    try:
        browser = await Browser.start(program("chromium"), program("chromedriver"), folder)
        try:
            page = Page(browser, webui.url)
            await page.welcome()
            yield page
        finally:
            await browser.close()
    finally:
        await webui.stop()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    gateways = Gateways(tmp_path_factory.mktemp("gateway"), "hot")
    async with Engine(["m"]) as one, Engine(["m"]) as two, Engine(["straight"]) as straight:
        replicas = {"one": one, "two": two}
        try:
            gateway = await gateways.start(config(replicas))
            folder = tmp_path_factory.mktemp("openwebui")
            async with visited(gateway.url, [gateway.url, straight.url], folder) as page:
                yield Site(gateway, replicas, straight, page)
        finally:
            await gateways.close()
