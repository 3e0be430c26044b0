"""Every scenario of the catalogue against the real gateway process: `make faults` shows the table, `make deep` runs this."""

from __future__ import annotations

import os

import pytest

from penstock.faults.catalogue import ROWS, collect
from penstock.faults.run import State, lacking
from penstock.faults.run import one as run_one
from penstock.faults.scenario import Scenario
from penstock.faults.stand import Stand

STAND = Stand()
ALLOWED = STAND.allows
FOUND = collect()
HERE = [scenario for scenario in FOUND if not lacking(scenario, ALLOWED)]


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "scenario", [pytest.param(one, id=one.id, marks=[pytest.mark.alone] if one.alone else []) for one in HERE]
)
async def test_the_gateway_survives(scenario: Scenario) -> None:
    """The client's side, the metric and the log record of each fault."""
    result = await run_one(scenario, STAND)
    assert result.state is State.PASSED, result.reason


def test_continuous_integration_runs_all_of_them() -> None:
    """A machine of a contributor may lack namespaces or a clock to turn; CI may not."""
    left_out = [scenario.id for scenario in FOUND if scenario not in HERE]
    assert not left_out or "CI" not in os.environ


def test_every_row_that_can_be_built_has_scenarios() -> None:
    there = {scenario.row for scenario in FOUND}
    assert [row.number for row in ROWS if row.weight and row.number not in there] == []
