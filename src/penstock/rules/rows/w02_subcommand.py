"""W2: `vllm openai` is no subcommand."""

from __future__ import annotations

from collections.abc import Iterator

from penstock.rules.engine import launches
from penstock.rules.finding import Finding
from penstock.rules.material import Material
from penstock.rules.reading.flags import MODULES
from penstock.rules.rule import Rule, finding
from penstock.rules.vllm import SUBCOMMANDS


def look(material: Material) -> Iterator[Finding]:
    for launch in launches(material):
        verb = launch.verb
        if not verb or verb in SUBCOMMANDS or verb in MODULES or verb.startswith(("-", "$", "{")):
            continue
        yield finding(
            "W2",
            f"`vllm {verb}` is no subcommand of vLLM: it ends with a usage error",
            "start the OpenAI-compatible server with `vllm serve MODEL …`",
            launch.at,
        )


RULE = Rule(
    row="W2",
    title="a subcommand that vLLM does not have, such as `vllm openai`",
    today="`vllm serve`; the others are " + ", ".join(sorted(SUBCOMMANDS - {"serve"})),
    reads="compose, Kubernetes, Dockerfile, shell",
    look=look,
)
