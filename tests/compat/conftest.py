"""What the documents' applications run in: none of their names set, and no connection of the test before."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from penstock import environment
from penstock.compat import rma


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever shell the tests run in."""
    for name in environment.NAMES:
        monkeypatch.delenv(name, raising=False)
    yield
    rma.forget()
