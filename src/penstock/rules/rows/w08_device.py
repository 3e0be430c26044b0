"""W8: there is no `--device`."""

from __future__ import annotations

from collections.abc import Iterator

from penstock.rules.engine import launches
from penstock.rules.finding import Finding
from penstock.rules.material import Material
from penstock.rules.rule import Rule, finding


def look(material: Material) -> Iterator[Finding]:
    for launch in launches(material):
        flag = launch.flag("--device")
        if flag:
            yield finding(
                "W8",
                f"`--device {flag.value}` is gone: the server ends with a usage error",
                "leave it out; for CPUs install vLLM's build for CPUs or its CPU image (the usual wheel is made for CUDA)",
                flag.at,
            )


RULE = Rule(
    row="W8",
    title="`--device cpu`",
    today="the device comes with the build: a wheel or image for CPUs",
    reads="compose, Kubernetes, Dockerfile, shell, lists of options in values files",
    look=look,
)
