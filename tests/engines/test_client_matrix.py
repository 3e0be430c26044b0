"""Unmodified clients get true answers from a real vLLM: the column `vllm` of tests/clients/expected.yaml.

S0.6, S0.13, S0.14, S0.15, S1.1, S2.2, S2.8, S3.26, S4.3, S4.5, X9. The other columns are tests/clients/test_matrix.py.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

pytest.register_assert_rewrite("tests.clients.cases")

from tests.clients.cases import check  # noqa: E402 - after the line above, so that a failed cell tells what it saw
from tests.clients.clients import Drawer  # noqa: E402
from tests.clients.columns import Column, Stage  # noqa: E402
from tests.clients.table import Cell, load  # noqa: E402
from tests.engines.servers import EMBED, LLAMA, VllmServer  # noqa: E402

TABLE = load()
# the first cell may have to wait for two servers
pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(600)]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def column(
    vllm_generate: VllmServer, vllm_pooling: VllmServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Column]:
    stage = Stage(tmp_path_factory.mktemp("clients"))
    yield await stage.vllm(vllm_generate.url, LLAMA, vllm_pooling.url, EMBED)
    await stage.close()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def drawer() -> AsyncIterator[Drawer]:
    drawer = Drawer()
    yield drawer
    await drawer.close()


@pytest.mark.parametrize("cell", [cell for cell in TABLE.all_cells() if cell.backend == "vllm"], ids=str)
async def test_cell(cell: Cell, column: Column, drawer: Drawer) -> None:
    await check(cell, TABLE, column, drawer)
