"""W3: adapters are not given with `--lora-path`."""

from __future__ import annotations

from collections.abc import Iterator

from penstock.rules.engine import launches
from penstock.rules.finding import Finding
from penstock.rules.material import Material
from penstock.rules.rule import Rule, finding


def look(material: Material) -> Iterator[Finding]:
    for launch in launches(material):
        path = launch.flag("--lora-path", "--lora-paths", "--lora-dir")
        modules = launch.flag("--lora-modules")
        if path:
            yield finding(
                "W3",
                f"`{path.name}` is no option of vLLM's: the server ends with a usage error before it loads anything",
                f"`--enable-lora --lora-modules NAME={path.value or 'PATH'} --max-lora-rank RANK`; clients choose the adapter by asking for the model NAME",
                path.at,
            )
        elif modules and not launch.flag("--enable-lora"):
            yield finding(
                "W3",
                "`--lora-modules` without `--enable-lora`: no adapter is served",
                "add `--enable-lora`, and `--max-lora-rank` where an adapter's rank is above 16",
                modules.at,
            )


RULE = Rule(
    row="W3",
    title="adapters given with `--lora-path`",
    today="`--enable-lora --lora-modules name=path`, and the adapter is chosen by the request's `model`",
    reads="compose, Kubernetes, Dockerfile, shell, lists of options in values files",
    look=look,
)
