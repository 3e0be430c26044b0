"""What tests/receipts/test_kill.py does, as often as it takes to hit every moment."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from tests.fakes import gateway as fake
from tests.fakes.gateway import Gateways
from tests.gateway.test_receipts import config
from tests.receipts import killing
from tests.receipts.killing import Siege, closed

from penstock.faults.engine import Engine

ROUNDS, KILLS = 7, 30
PATIENCE = 300.0
"""Seconds for a gateway to start, on a machine that is busy with something else."""


@pytest.mark.alone
@pytest.mark.timeout(3600)
async def test_two_hundred_kills(tmp_path: Path, scripted_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """S0.24: every acknowledged request has exactly one receipt, whenever gateway and writer were killed."""
    monkeypatch.setattr(fake, "START", PATIENCE)
    monkeypatch.setattr(fake, "STOP", PATIENCE)
    monkeypatch.setattr(killing, "LIMIT", PATIENCE)
    gateways = Gateways(tmp_path, "hot")
    siege = Siege(gateways.start, config(scripted_engine, tmp_path), tmp_path / "receipts", seed=7)
    try:
        for _ in range(ROUNDS):
            await siege.run(KILLS)
            receipts = siege.judge()
            lost = sum(one.finish == "lost" for one in receipts.values())
            told = f"{len(siege.acknowledged)} acknowledged, {len(receipts)} receipts, {lost} of them lost"
            sys.stderr.write(f"{dict(siege.kills)}: {siege.asked} asked, {told}\n")
        assert sum(siege.kills.values()) == ROUNDS * KILLS
    finally:
        await closed(gateways)
