"""W6: metrics come on the API's port, and there is no `/stats`."""

from __future__ import annotations

from collections.abc import Iterator

from penstock.rules.engine import Engine, engines, related
from penstock.rules.finding import Evidence, Finding
from penstock.rules.material import Material, Scrape
from penstock.rules.rule import Rule, finding

NEAR = frozenset({"localhost", "127.0.0.1", "0.0.0.0", "::1"})  # noqa: S104 - compared, not bound
BELIEVED = "8001"
"""The port on which documents expect metrics."""


def look(material: Material) -> Iterator[Finding]:
    found = list(engines(material))
    for engine in found:
        at = list(_ports_for_metrics(engine))
        if at:
            yield finding(
                "W6",
                f"port {BELIEVED} of the engine's container: nothing listens there, vLLM has one port, {engine.port}, for the API and the metrics",
                f"publish {engine.port} alone and scrape /metrics there",
                *at,
            )
    for scrape in material.scrapes:
        yield from _judged(scrape, found)


def _ports_for_metrics(engine: Engine) -> Iterator[Evidence]:
    if "$" in engine.port:
        return
    for port in engine.ports:
        if port.published and port.container != engine.port and _for_metrics(port.container, port.at):
            yield port.at
    for word in engine.exposed:
        if word.text != engine.port and _for_metrics(word.text, word.at):
            yield word.at


def _for_metrics(port: str, at: Evidence) -> bool:
    return port == BELIEVED or "metric" in at.text.lower()


def _judged(scrape: Scrape, found: list[Engine]) -> Iterator[Finding]:
    engine, inside = next(((one, port) for one in found if (port := reached(scrape, one))), (None, ""))
    if engine is None:
        return
    if scrape.path == "/stats":
        mend = "`/load` (with --enable-server-load-tracking) counts requests; `vllm:num_requests_running` of /metrics does so always"
        yield finding("W6", "vLLM has no `/stats`: 404", mend, scrape.at)
    elif scrape.path == "/metrics" and inside != engine.port and "$" not in engine.port:
        wrong = f"no metrics on port {scrape.port}: vLLM serves /metrics on the API's port"
        yield finding("W6", wrong, "scrape the port of the API", scrape.at)


def reached(scrape: Scrape, engine: Engine) -> str:
    """The port inside the engine's container that this leads to; empty where it leads elsewhere, or nobody can tell."""
    if not related(scrape.at, engine.at):
        return ""
    if engine.name and scrape.host.partition(".")[0] == engine.name:
        return scrape.port
    if scrape.host not in NEAR:
        return ""
    if engine.kind in {"script", "recipe"}:
        return engine.port if scrape.port == engine.port else ""
    return next((port.container for port in engine.ports if port.published and port.host == scrape.port), "")


RULE = Rule(
    row="W6",
    title="metrics on a port of their own, `/stats`",
    today="`/metrics` on the API's port; `/load`, `/health`, `/ping`, `/version`, and no `/stats`",
    reads="compose, Dockerfile, Prometheus configuration, shell",
    look=look,
)
