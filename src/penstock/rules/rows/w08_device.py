"""W8: there is no `--device`."""

from __future__ import annotations

from collections.abc import Iterator

from penstock.rules.engine import launches
from penstock.rules.finding import Finding
from penstock.rules.material import Material
from penstock.rules.reading.python_code import keyword, meaning
from penstock.rules.rule import Rule, finding

MADE = frozenset({"vllm.LLM", "vllm.EngineArgs", "vllm.AsyncEngineArgs"})
MEND = "leave it out; for CPUs install vLLM's build for CPUs or its CPU image (the usual wheel is made for CUDA)"


def look(material: Material) -> Iterator[Finding]:
    for launch in launches(material):
        flag = launch.flag("--device")
        if flag:
            wrong = f"`--device {flag.value}` is gone: the server ends with a usage error"
            yield finding("W8", wrong, MEND, flag.at)
    for module in material.modules:
        for call in module.calls:
            device = keyword(call, "device")
            if device is not None and meaning(call.func, module.names) in MADE:
                yield finding("W8", "`device` is no argument of vLLM's any more: a TypeError", MEND, module.at(device))


RULE = Rule(
    row="W8",
    title="`--device cpu`",
    today="the device comes with the build: a wheel or image for CPUs",
    reads="compose, Kubernetes, Dockerfile, shell, lists of options in values files, Python",
    look=look,
)
