"""Every input of the corpus through its target: what once failed never fails again."""

from __future__ import annotations

import pytest
from tests.fuzz import corpus
from tests.fuzz.targets import TARGETS


@pytest.mark.parametrize("name", TARGETS)
def test_the_corpus_passes(name: str) -> None:
    inputs = corpus.read(name)
    assert inputs
    for data in inputs:
        TARGETS[name](data)
