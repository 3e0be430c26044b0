"""W7: `VLLM_PORT` is vLLM's own, and Kubernetes sets it to a URL where a Service is called `vllm`."""

from __future__ import annotations

from collections.abc import Iterator

from penstock.rules.engine import Engine, engines
from penstock.rules.finding import Evidence, Finding
from penstock.rules.material import Material
from penstock.rules.rule import Rule, finding

NAME = "VLLM_PORT"
CLIENTS = frozenset({"VLLM_MODEL", "VLLM_URL", "VLLM_HOST"})
"""Names of the clients' that vLLM does not know but claims the beginning of."""
TRAP = "vllm"


def look(material: Material) -> Iterator[Finding]:
    found = list(engines(material))
    for engine in found:
        at = list(_lines(engine))
        if at:
            beside = [one.at for one in engine.settings if one.name in CLIENTS]
            yield finding(
                "W7",
                f"{NAME} in the engine's environment is no API port: vLLM takes it as the first port for talk between its own processes",
                "use --port for the API and a name of your own in scripts (ENGINE_PORT); keep VLLM_* names for clients",
                *at,
                *beside,
            )
    linked = [engine for engine in found if engine.kind == "kubernetes" and engine.links]
    for service in material.cluster:
        beside = [
            one.at for one in linked if one.namespace == service.namespace or not (one.namespace and service.namespace)
        ]
        if service.name == TRAP and beside:
            yield _trap(service.at, beside[0])
    links_off = any(value.path.endswith("enableServiceLinks") and value.text == "false" for value in material.values)
    for value in material.values:
        if value.path.rpartition(".")[2] in {"vllm_name", "vllmName"} and value.text == TRAP and not links_off:
            yield _trap(value.at)


def _lines(engine: Engine) -> Iterator[Evidence]:
    """Where the name is set, and where a script takes the port from it."""
    for setting in engine.settings:
        if setting.name == NAME:
            yield setting.at
    port = engine.flag("--port")
    if port:
        yield from (source for source in port.given.sources if NAME in source.text)
        if NAME in port.at.text:
            yield port.at


def _trap(*at: Evidence) -> Finding:
    return finding(
        "W7",
        f"a Service called `{TRAP}`: Kubernetes sets {NAME}=tcp://… in every container of the namespace, and vLLM ends with «{NAME} … appears to be a URI»",
        "call it `llm-engine`, or set `enableServiceLinks: false` in the engine's pod",
        *at,
    )


RULE = Rule(
    row="W7",
    title="`VLLM_PORT` as the API's port; a Kubernetes Service called `vllm`",
    today="`--port`; `VLLM_PORT` is internal, and a Service `vllm` sets it to a URL that vLLM refuses",
    reads="compose, Kubernetes, Dockerfile, shell, env files, Ansible variables",
    look=look,
)
