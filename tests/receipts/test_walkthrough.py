"""The auditor's page, block by block: the operator's in the gateway's folder, the auditor's in another with what was handed over."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import yaml
from tests.fakes.gateway import StartGateway
from tests.fakes.raw import once
from tests.gateway.test_receipts import config, logged

from penstock.faults.engine import Engine

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "receipts.md"
BLOCK = re.compile(r"<!-- (operator|auditor) -->\n```\n(.*?)```", re.DOTALL)
LIMIT = 60.0


async def test_the_auditors_page(gateway: StartGateway, scripted_engine: Engine, tmp_path: Path) -> None:
    """S0.24, X8: a receipt is verified elsewhere with only the exported folder and the public key."""
    operator, auditor = tmp_path / "operator", tmp_path / "auditor"
    operator.mkdir()
    auditor.mkdir()
    digest = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"  # of "hello"
    callers = {"alice": {"tenant": "acme", "key_sha256": digest}}
    running = await gateway(config(scripted_engine, operator) | {"callers": callers})
    body = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
    key = "authorization: Bearer hello"
    for name in ("mine-0", "mine-1"):
        assert (await once(running.url, "/v1/chat/completions", body, key, f"x-request-id: {name}")).status == 200
        await logged(running, name, key)
    settings = {"PENSTOCK_CONFIG": str(running.config), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    assert yaml.safe_load(running.config.read_text())["receipts"]["folder"] == str(operator / "receipts")
    blocks = BLOCK.findall(PAGE.read_text(encoding="utf-8"))
    assert len(blocks) == 6
    said = ""
    for who, text in blocks:
        place, env = (operator, settings) if who == "operator" else (auditor, {"PATH": settings["PATH"]})
        done = subprocess.run(  # noqa: ASYNC221 - the gateway is another process
            ["/bin/bash", "-e", "-c", text],
            cwd=place,
            env=env,
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
        said += done.stdout
        if who == "operator":
            for made in ("handover", "log.pub", "mine-1.json"):
                if (operator / made).exists() and not (auditor / made).exists():
                    copy = shutil.copytree if (operator / made).is_dir() else shutil.copy
                    copy(operator / made, auditor / made)
    assert said.count("good: 2 entries of penstock.example/log, 2 receipts held against them") == 3
    assert "good: mine-1 is entry 1 of penstock.example/log" in said
