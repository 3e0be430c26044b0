"""Every behaviour of a call holds for threads and for event loops: `ways` asks in the one way and then in the other."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from tests.fakes.threads import in_thread

from penstock.client.plain import ChatOllamaClient, ChatVLLM, OllamaClient, VLLMClient

Client = VLLMClient | OllamaClient | ChatVLLM | ChatOllamaClient
FAST = {"retry_delay": 0.01, "timeout": 20.0}
"""Arguments under which retries take no time worth mentioning."""


class Ways:
    """Asks clients and closes them."""

    def __init__(self, *, blocking: bool) -> None:
        self.blocking = blocking
        self._clients: list[Client] = []

    def made(self, client: Any) -> Any:  # noqa: ANN401 - whichever class it is
        """This client, closed after the test."""
        self._clients.append(client)
        return client

    async def ask(self, client: Any, given: Any, **options: Any) -> Any:  # noqa: ANN401
        self.made(client)
        if self.blocking:
            return await in_thread(lambda: client.invoke(given, **options))
        return await client.ainvoke(given, **options)

    async def stream(self, client: Any, given: Any, **options: Any) -> list[Any]:  # noqa: ANN401
        self.made(client)
        if self.blocking:
            return await in_thread(lambda: list(client.stream(given, **options)))
        return [piece async for piece in client.astream(given, **options)]

    async def check(self, client: Any) -> Any:  # noqa: ANN401
        self.made(client)
        return await in_thread(client.check) if self.blocking else await client.acheck()

    async def fit(self, client: Any, given: Any, **options: Any) -> Any:  # noqa: ANN401
        self.made(client)
        if self.blocking:
            return await in_thread(lambda: client.fit(given, **options))
        return await client.afit(given, **options)

    async def close(self) -> None:
        for client in self._clients:
            await client.aclose()


@pytest_asyncio.fixture(params=["blocking", "async"])
async def ways(request: pytest.FixtureRequest) -> AsyncIterator[Ways]:
    ways = Ways(blocking=request.param == "blocking")
    yield ways
    await ways.close()


@pytest_asyncio.fixture
async def both() -> AsyncIterator[tuple[Ways, Ways]]:
    """The two ways in one test, where what stands around them is dear to start."""
    ways = (Ways(blocking=True), Ways(blocking=False))
    yield ways
    for one in ways:
        await one.close()
