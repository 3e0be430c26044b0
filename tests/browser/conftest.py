"""One headless Chromium for the tests of this folder; the page's only way out is the file that it is."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from tests.openwebui.browser import Browser


def program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise FileNotFoundError(f"looking for a browser: {name} is not installed; try apt-get install {name}")
    return found


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Browser]:
    folder = tmp_path_factory.mktemp("browser")
    started = await Browser.start(
        program("chromium"), shutil.which("chromedriver") or program("chromium-driver"), folder
    )
    yield started
    await started.close()
