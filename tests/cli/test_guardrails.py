"""`penstock guardrails`: S0.23, drift between an alias' bound versions and the files that stand there."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from tests.cli.inside import inside

pytestmark = pytest.mark.asyncio

CONFIG = """
backends: {{gpu: {{kind: vllm, url: "http://127.0.0.1:9"}}}}
aliases:
  bound:
    targets: [{{backends: [gpu], model: m}}]
    guardrails:
      system: {{file: "{folder}/system.md", version: "7", sha256: "{digest}"}}
      template: {{file: "{folder}/template.md", version: t2}}
  rules:
    targets: [{{backends: [gpu], model: m}}]
    guardrails: {{tools: []}}
  plain:
    targets: [{{backends: [gpu], model: m}}]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "system.md").write_text("Be kind.\n")
    (tmp_path / "template.md").write_text("Q: {{prompt}}")
    config = tmp_path / "penstock.yaml"
    digest = hashlib.sha256(b"Be kind.\n").hexdigest()
    config.write_text(CONFIG.format(folder=tmp_path, digest=digest), encoding="utf-8")
    return config


async def test_what_is_bound_is_shown(file: Path) -> None:
    done = await inside("guardrails", "--config", str(file))
    assert done.code == 0
    system, template, rules = done.out.splitlines()
    assert system.startswith("bound  system 7")
    assert system.endswith("as bound")
    assert template.endswith("not bound to a digest")
    assert rules == "rules  rules without texts"


async def test_a_file_that_drifted_is_told(file: Path) -> None:
    """S0.23: another text under the same version, or none at all, fails."""
    (file.parent / "system.md").write_text("Be unkind.\n")
    done = await inside("guardrails", "--config", str(file))
    assert done.code == 1
    assert "drifted: another text" in done.out
    assert "is not what version 7 is bound to" in done.out
    told = json.loads((await inside("guardrails", "--json", "--config", str(file))).out)
    assert [one["verdict"] for one in told["texts"]] == ["drifted: another text", "not bound to a digest"]
    assert told["problem"]
    (file.parent / "system.md").unlink()
    gone = await inside("guardrails", "--config", str(file))
    assert gone.code == 1
    assert "the file cannot be read" in gone.out


async def test_without_any_it_says_so(tmp_path: Path) -> None:
    config = tmp_path / "penstock.yaml"
    config.write_text(
        'backends: {gpu: {kind: vllm, url: "http://127.0.0.1:9"}}\naliases: {m: {targets: [{backends: [gpu], model: m}]}}\n'
    )
    done = await inside("guardrails", "--config", str(config))
    assert (done.code, done.out.strip()) == (0, "no alias has guardrails")
