"""New inputs for every parser, for some seconds each."""

from __future__ import annotations

import random
import time

import pytest
from tests.fuzz import corpus
from tests.fuzz.mutation import mutated
from tests.fuzz.targets import TARGETS

SECONDS = 6.0
pytestmark = pytest.mark.timeout(120)


@pytest.mark.parametrize("name", TARGETS)
def test_mutations_pass(name: str) -> None:
    seed = random.randrange(1 << 30)
    dice, known, target = random.Random(seed), corpus.read(name), TARGETS[name]
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        data = mutated(dice, known)
        try:
            target(data)
        except Exception as fault:
            fault.add_note(f"target {name!r}, input {data!r}")
            raise
