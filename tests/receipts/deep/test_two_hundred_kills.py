"""What tests/receipts/test_kill.py does, as often as it takes to hit every moment."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from tests.fakes.gateway import Gateways
from tests.gateway.test_receipts import config
from tests.receipts.killing import Siege, closed

from penstock.faults.engine import Engine

KILLS = 210


@pytest.mark.alone
@pytest.mark.timeout(1800)
async def test_two_hundred_kills(tmp_path: Path, scripted_engine: Engine) -> None:
    """S0.24: every acknowledged request has exactly one receipt, whenever gateway and writer were killed."""
    gateways = Gateways(tmp_path, "hot")
    try:
        siege = Siege(gateways.start, config(scripted_engine, tmp_path), tmp_path / "receipts", seed=7)
        await siege.run(KILLS)
        receipts = siege.judge()
        lost = sum(one.finish == "lost" for one in receipts.values())
        sys.stderr.write(
            f"{siege.kills}, {siege.asked} asked, {len(siege.acknowledged)} acknowledged, {len(receipts)} receipts, {lost} lost\n"
        )
        assert sum(siege.kills.values()) >= 200
    finally:
        await closed(gateways)
