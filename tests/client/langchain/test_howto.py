"""The code of docs/howto/langchain.md runs as it stands, but for the gateway's address."""

from __future__ import annotations

import gc
import re
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.gateway import Gateway
from tests.fakes.threads import in_thread

PAGE = (Path(__file__).parents[3] / "docs" / "howto" / "langchain.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.parametrize("block", range(len(BLOCKS)))
async def test_a_block_of_code(guided: Gateway, block: int) -> None:
    code = BLOCKS[block].replace("http://127.0.0.1:8000", guided.url)
    assert code != BLOCKS[block]
    space: dict[str, Any] = {}
    await in_thread(lambda: exec(compile(code, "howto.py", "exec"), space))  # noqa: S102
    assert space
    space.clear()
    gc.collect()  # other people's clients are dropped unclosed, as in the text: here, where the warning is expected


def test_a_diff_shows_names_that_exist() -> None:
    for module, names in re.findall(r"^\+from (penstock[\w.]*) import (.+)$", PAGE, re.MULTILINE):
        space: dict[str, Any] = {}
        exec(f"from {module} import {names}", space)  # noqa: S102
        assert {name.strip() for name in names.split(",")} <= set(space)
