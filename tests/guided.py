"""The guide behind a gateway, under the names that the documents ask for: a real engine that speaks both protocols."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from tests.engines_fixtures import Engine
from tests.fakes.gateway import Gateway, Gateways

HUB = "meta-llama/Meta-Llama-3.1-8B-Instruct"
TAG = "llama3.1:8b"


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def guided(guide_engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    """One for the whole session: its process, llama.cpp with the guide behind it."""
    gateways = Gateways(tmp_path_factory.mktemp("guided"), "hot")
    target = {"backends": ["local"], "model": guide_engine.model}
    yield await gateways.start(
        {
            "backends": {"local": {"kind": "openai", "url": guide_engine.url}},
            "aliases": {
                HUB: {"also": [TAG], "targets": [target]},
                "llama3.2": {"targets": [target]},
                "guide": {"targets": [target]},
            },
        }
    )
    await gateways.close()
