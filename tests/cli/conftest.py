"""One gateway with the guide for every test that only asks it something."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.cli.console import first_document, started


@pytest.fixture(scope="session")
def guide_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a `penstock up` that serves the bundled model."""
    folder = tmp_path_factory.mktemp("up")
    with started(folder, "up", "--model", "guide", "--port", "0", "--json") as process:
        yield first_document(process)["url"]
