"""W32: an engine that other machines reach; its `--api-key` protects a few of its paths."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from penstock.rules.engine import Engine, engines
from penstock.rules.finding import Evidence, Finding
from penstock.rules.material import Material, Port
from penstock.rules.rule import Rule, finding
from penstock.rules.vllm import GUARDED, UNGUARDED

ADMIN: Final = frozenset({"VLLM_ALLOW_RUNTIME_LORA_UPDATING", "VLLM_SERVER_DEV_MODE"})
"""Names that open routes with which anybody changes the server."""
LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})
OUTWARD: Final = frozenset({"NodePort", "LoadBalancer"})
MEND: Final = (
    "publish the port on 127.0.0.1 alone, or not at all, and put a gateway with keys and a list of allowed paths in front (Penstock, which"
    " forwards model routes and nothing else)"
)


def look(material: Material) -> Iterator[Finding]:
    for engine in engines(material):
        reached = list(_reached(engine, material))
        if reached:
            yield _open(engine, reached)


def _reached(engine: Engine, material: Material) -> Iterator[Evidence]:
    """The lines that let other machines in."""
    host = engine.flag("--host")
    near = host is not None and host.value in LOOPBACK
    if not near:
        yield from engine.open_at
    for port in engine.ports:
        if port.published and not _near(port) and (port.container == engine.port or "$" in engine.port):
            yield port.at
    if engine.kind == "kubernetes":
        yield from (one.at for one in material.cluster if one.type in OUTWARD and _same(one.name, engine.name))
    if engine.kind == "script" and engine.key and not near:
        yield host.at if host else engine.at


def _near(port: Port) -> bool:
    return port.address in LOOPBACK or port.address.startswith("127.")


def _same(service: str, workload: str) -> bool:
    return service in workload or workload in service


def _open(engine: Engine, reached: list[Evidence]) -> Finding:
    admin = [one.at for one in engine.settings if one.name in ADMIN and one.value.lower() not in {"", "0", "false"}]
    also = "; routes that change the server are switched on" if admin else ""
    key = engine.key
    if key:
        wrong = f"--api-key protects {', '.join(GUARDED)} alone: {', '.join(UNGUARDED)} and others stay open to every machine that reaches the port{also}"
        return finding("W32", wrong, MEND, key, *reached, *admin)
    return finding(
        "W32", f"the engine asks nobody for a key and its port is open to other machines{also}", MEND, *reached, *admin
    )


RULE = Rule(
    row="W32",
    title="an engine open to other machines, with `--api-key` or without a key",
    today="`--api-key` guards "
    + ", ".join(f"`{path}`" for path in GUARDED)
    + "; all else is open: a proxy with a list of allowed paths belongs in front",
    reads="compose, Kubernetes, shell; live: see the checks",
    look=look,
)
