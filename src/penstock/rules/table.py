"""All rules, in the order of the acceptance table. A rule more: a file in rows/, and its name here."""

from __future__ import annotations

import re
from typing import Final

from penstock.rules.finding import Finding
from penstock.rules.material import Material
from penstock.rules.rows import (
    w01_base_url_name,
    w02_subcommand,
    w03_lora_path,
    w04_model_name,
    w05_old_release,
    w06_metrics_port,
    w07_vllm_port,
    w08_device,
    w09_engine_log,
    w10_removed_tuning,
    w11_forward_hooks,
    w12_encrypted_throughput,
    w13_encrypted_weights,
    w14_load_test,
    w30_fallback,
    w31_model_not_served,
    w32_open_engine,
)
from penstock.rules.rule import Rule

RULES: Final[tuple[Rule, ...]] = (
    w01_base_url_name.RULE,
    w02_subcommand.RULE,
    w03_lora_path.RULE,
    w04_model_name.RULE,
    w05_old_release.RULE,
    w06_metrics_port.RULE,
    w07_vllm_port.RULE,
    w08_device.RULE,
    w09_engine_log.RULE,
    w10_removed_tuning.RULE,
    w11_forward_hooks.RULE,
    w12_encrypted_throughput.RULE,
    w13_encrypted_weights.RULE,
    w14_load_test.RULE,
    w30_fallback.RULE,
    w31_model_not_served.RULE,
    w32_open_engine.RULE,
)


IGNORED: Final = re.compile(r"doctor: ignore\b((?:[\s,]*\bW\d+)*)")
"""In a line that is shown as evidence: `# doctor: ignore W32`; without a row, every rule."""


def examine(material: Material) -> list[Finding]:
    """What every rule finds, each thing once, without what the files ask to be left alone."""
    found = dict.fromkeys(found for rule in RULES for found in rule.look(material))
    return [one for one in found if not any(_ignored(one.rule, line.text) for line in one.evidence)]


def _ignored(row: str, line: str) -> bool:
    asked = IGNORED.search(line)
    return asked is not None and (not asked[1].strip(" ,") or row in re.findall(r"W\d+", asked[1]))
