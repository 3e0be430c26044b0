"""Fixtures over the fakes; tests/conftest.py offers them to every test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.fakes.gateway import Gateways, StartGateway
from tests.fakes.openai import openai_engine

from penstock.faults.engine import Engine
from penstock.faults.ollama import OllamaDouble


@pytest_asyncio.fixture
async def scripted_engine() -> AsyncIterator[Engine]:
    """A vLLM that serves the model `m`."""
    async with Engine(["m"]) as engine:
        yield engine


@pytest_asyncio.fixture
async def ollama_double() -> AsyncIterator[OllamaDouble]:
    """An Ollama that serves `llama3.2`."""
    async with OllamaDouble(["llama3.2"]) as double:
        yield double


@pytest_asyncio.fixture
async def openai_double() -> AsyncIterator[Engine]:
    """A strict OpenAI-compatible server that serves `gpt-test`."""
    async with openai_engine() as engine:
        yield engine


@pytest.fixture
def lane() -> str:
    """Which data plane the gateway runs; suites that hold for both override it with both."""
    return "hot"


@pytest_asyncio.fixture
async def gateway(tmp_path: Path, lane: str) -> AsyncIterator[StartGateway]:
    """`await gateway({...config...})` starts the real gateway process; it must end cleanly after the test."""
    gateways = Gateways(tmp_path, lane)
    yield gateways.start
    await gateways.close()
