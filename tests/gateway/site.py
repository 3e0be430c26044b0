"""A gateway with its engines that a whole test module shares: starting a process for every test would be most of the work.

Tests that use it run in the module's event loop (`pytestmark = SHARED`). Every test finds healthy engines with empty
journals; what breaks more than that starts a gateway of its own with the `gateway` fixture.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
import yaml
from tests.fakes.gateway import Gateway, Gateways
from tests.fakes.openai import openai_engine
from tests.fakes.raw import Answer, once

from penstock.faults.condition import Gauges, Model
from penstock.faults.engine import Engine
from penstock.faults.ollama import OllamaDouble
from penstock.faults.record import Journal
from penstock.faults.script import HEALTHY

SHARED = pytest.mark.asyncio(loop_scope="module")
BODY_LIMIT = 64 * 1024
HEAD_LIMIT = 16 * 1024
HELLO: list[dict[str, Any]] = [{"role": "user", "content": "hello wide world"}]


def chat(model: str = "m", **fields: object) -> dict[str, Any]:
    """A small chat request."""
    return {"model": model, "messages": HELLO, **fields}


@dataclass(slots=True)
class Site:
    """One gateway, its engines, and its three protocols' requests."""

    gateway: Gateway
    first: Engine
    """Backend `first`: vLLM with `real-m`."""
    second: Engine
    """Backend `second`: vLLM with `real-m` and `other`."""
    ollama: OllamaDouble
    strict: Engine

    @property
    def url(self) -> str:
        return self.gateway.url

    async def post(self, path: str, body: object, *headers: str) -> Answer:
        """One request on a fresh connection."""
        return await once(self.url, path, body, *headers)

    async def chat(self, model: str = "m", *headers: str, **fields: object) -> Answer:
        """One chat request, OpenAI's way."""
        return await once(self.url, "/v1/chat/completions", chat(model, **fields), *headers)

    async def clean(self) -> None:
        """The gateway serves the next request as if nothing had happened."""
        answer = await self.chat()
        assert answer.status == 200
        assert answer.json()["choices"][0]["message"]["content"] == "hello wide world"

    @property
    def harmed(self) -> bool:
        """Whether a test made an engine do anything but answer."""
        engines = (self.first, self.second, self.strict, self.ollama)
        return any(one.script is not HEALTHY or one.next or one.gates or one.aborts for one in engines)

    async def _renew(self) -> None:
        """Other backends in the gateway's eyes: what it learnt of these, and how long they asked to be left alone, is gone."""
        written = yaml.safe_load(self.gateway.config.read_text())
        for one in written["backends"].values():
            one["probe"] = "101ms" if one["probe"] == "100ms" else "100ms"
        self.gateway.config.write_text(yaml.safe_dump(written, sort_keys=False))
        reloaded = self.gateway.log.count("configuration reloaded")
        self.gateway.process.send_signal(signal.SIGHUP)
        async with asyncio.timeout(10):
            while self.gateway.log.count("configuration reloaded") == reloaded:  # noqa: ASYNC110 - another process writes it
                await asyncio.sleep(0.01)

    async def heal(self) -> None:
        """Healthy engines, empty journals, closed breakers."""
        harmed = self.harmed
        if harmed:
            await self._renew()
        for engine in (self.first, self.second, self.strict):
            engine.script = HEALTHY
            engine.next.clear()
            engine.gauges = Gauges()
            engine.models.setdefault("real-m", Model("real-m"))
        self.ollama.script = HEALTHY
        self.ollama.next.clear()
        journals: list[Journal] = [self.first, self.second, self.strict, self.ollama]
        for journal in journals:
            for gate in journal.gates:
                gate.open()
            journal.gates.clear()
        await self.gateway.until("/ready", lambda page: page["status"] == "ready")
        for alias in ("m", "only-second", "strict", "via-ollama") if harmed else ():
            await self.chat(alias)
        for journal in journals:
            await journal.until(lambda: not journal.running, "an idle engine")  # noqa: B023 - awaited at once
            journal.requests.clear()
            journal.probes.clear()
            journal.aborts.clear()
            journal.answered = 0


def configuration(first: Engine, second: Engine, ollama: OllamaDouble, strict: Engine) -> dict[str, Any]:
    """The site's penstock.yaml."""
    return {
        "backends": {
            "first": {"kind": "vllm", "url": first.url, "probe": "100ms"},
            "second": {"kind": "vllm", "url": second.url, "probe": "100ms"},
            "spare": {"kind": "ollama", "url": ollama.url, "probe": "100ms"},
            "strict": {"kind": "openai", "url": strict.url, "probe": "100ms"},
        },
        "aliases": {
            "m": {"targets": [{"backends": ["first"], "model": "real-m"}]},
            "m2": {
                "also": ["Meta/Llama-3"],
                "targets": [{"backends": ["first"], "model": "real-m"}, {"backends": ["second"], "model": "other"}],
            },
            "with-spare": {
                "targets": [{"backends": ["first"], "model": "real-m"}, {"backends": ["spare"], "model": "llama3.2"}]
            },
            "never": {
                "fallback": "never",
                "targets": [{"backends": ["first"], "model": "real-m"}, {"backends": ["second"], "model": "real-m"}],
            },
            "same": {
                "fallback": "same-model",
                "targets": [
                    {"backends": ["first"], "model": "real-m"},
                    {"backends": ["spare"], "model": "llama3.2"},
                    {"backends": ["second"], "model": "real-m"},
                ],
            },
            "impatient": {
                "first_token": "1s",
                "targets": [{"backends": ["first"], "model": "real-m"}, {"backends": ["second"], "model": "other"}],
            },
            "only-second": {"targets": [{"backends": ["second"], "model": "other"}]},
            "replicas": {"targets": [{"backends": ["first", "second"], "model": "real-m"}]},
            "via-ollama": {"targets": [{"backends": ["spare"], "model": "llama3.2"}]},
            "strict": {"targets": [{"backends": ["strict"], "model": "gpt-test"}]},
        },
        "limits": {
            "body": "64KiB",
            "headers": "16KiB",
            "head": "1s",
            "upload": "1s",
            "between_tokens": "1s",
            "drain": "5s",
        },
        "cors": ["https://app.example"],
    }


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(lane: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    """The site, for all tests of a module."""
    async with AsyncExitStack() as life:
        first = await life.enter_async_context(Engine(["real-m"]))
        second = await life.enter_async_context(Engine(["real-m", "other"]))
        ollama = await life.enter_async_context(OllamaDouble(["llama3.2"]))
        strict = await life.enter_async_context(openai_engine())
        gateways = Gateways(tmp_path_factory.mktemp("site"), lane)
        life.push_async_callback(gateways.close)
        gateway = await gateways.start(configuration(first, second, ollama, strict))
        yield Site(gateway, first, second, ollama, strict)


@pytest_asyncio.fixture(loop_scope="module")
async def site(running: Site) -> Site:
    """The shared site, healed."""
    await running.heal()
    return running


@pytest.fixture(params=["hot", "asgi"], scope="module")
def lane(request: pytest.FixtureRequest) -> str:
    """Both data planes: one contract."""
    return str(request.param)
