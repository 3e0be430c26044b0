"""One stage for all cells: the engines and gateways of the matrix, started once."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

pytest.register_assert_rewrite("tests.clients.cases")

from tests.clients.clients import Drawer  # noqa: E402 - after the line above, so that a failed cell tells what it saw
from tests.clients.columns import Stage  # noqa: E402


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    stage = Stage(tmp_path_factory.mktemp("clients"))
    yield stage
    await stage.close()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def drawer() -> AsyncIterator[Drawer]:
    drawer = Drawer()
    yield drawer
    await drawer.close()
