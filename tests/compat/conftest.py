"""One real engine for the documents' applications: the guide behind a gateway, under the names that the documents ask for."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from tests.engines_fixtures import Engine, guide_engine
from tests.fakes.gateway import Gateway, Gateways

from penstock import environment
from penstock.compat import rma

__all__ = ["guide_engine"]

HUB = "meta-llama/Meta-Llama-3.1-8B-Instruct"


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def guided(guide_engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    """A gateway that speaks both protocols in front of llama.cpp with the guide."""
    gateways = Gateways(tmp_path_factory.mktemp("guided"), "hot")
    target = {"backends": ["local"], "model": guide_engine.model}
    yield await gateways.start(
        {
            "backends": {"local": {"kind": "openai", "url": guide_engine.url}},
            "aliases": {HUB: {"also": ["llama3.1:8b"], "targets": [target]}, "llama3.2": {"targets": [target]}},
        }
    )
    await gateways.close()


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """None of the documents' names is set, whatever shell the tests run in; clients of one test are not the next one's."""
    for name in environment.NAMES:
        monkeypatch.delenv(name, raising=False)
    yield
    rma.forget()
