"""Unmodified clients get true answers from every kind of backend: each cell of expected.yaml, but for the real vLLM's.

S0.6, S0.13, S0.14, S0.15, S1.1, S2.2, S2.8, S3.26, S4.3, S4.5, X9. The column `vllm` is tests/engines/test_client_matrix.py.
"""

from __future__ import annotations

import pytest
from tests.clients.cases import check
from tests.clients.clients import Drawer
from tests.clients.columns import Stage
from tests.clients.table import Cell, load

TABLE = load()
REAL = "vllm"


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize("cell", [cell for cell in TABLE.all_cells() if cell.backend != REAL], ids=str)
async def test_cell(cell: Cell, stage: Stage, drawer: Drawer) -> None:
    await check(cell, TABLE, await stage.column(cell.backend), drawer)
