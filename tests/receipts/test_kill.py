"""The processes that write receipts are killed under traffic: nothing acknowledged is lost, nothing is there twice."""

from __future__ import annotations

from pathlib import Path

from tests.fakes.gateway import Gateways
from tests.gateway.test_receipts import config
from tests.receipts.killing import Siege, closed

from penstock.faults.engine import Engine

KILLS = 4


async def test_four_kills(tmp_path: Path, scripted_engine: Engine) -> None:
    """S0.24: gateway and writer die at random moments; two hundred of them are tests/receipts/deep."""
    gateways = Gateways(tmp_path, "hot")
    try:
        siege = Siege(gateways.start, config(scripted_engine, tmp_path), tmp_path / "receipts")
        await siege.run(KILLS)
        siege.judge()
        assert sum(siege.kills.values()) == KILLS
        assert len(siege.acknowledged) > KILLS
    finally:
        await closed(gateways)
