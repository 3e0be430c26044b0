"""Whether the engine's metrics bear the names that today's dashboards ask for, on the API's port (W6, W27)."""

from __future__ import annotations

import re
from typing import Final

from penstock.doctor.ask import Silent
from penstock.doctor.result import Check, Result, ok, unknown, wrong
from penstock.doctor.server import Server

NAME = "metric-names"
OLD: Final = {
    "vllm:gpu_cache_usage_perc": "vllm:kv_cache_usage_perc",
    "vllm:cpu_cache_usage_perc": "(gone)",
    "vllm:num_requests_swapped": "(gone)",
    "vllm:time_per_output_token_seconds": "vllm:inter_token_latency_seconds",
    "vllm:gpu_prefix_cache_queries": "vllm:prefix_cache_queries",
    "vllm:gpu_prefix_cache_hits": "vllm:prefix_cache_hits",
}
_NAME = re.compile(rb"^(vllm[:_][a-zA-Z0-9_]+)", re.MULTILINE)


def look(server: Server) -> Result:
    tried = "GET /metrics"
    if server.kind not in {"vllm", "penstock"}:
        return unknown(NAME, server, "no vLLM and no Penstock: its metrics are its own affair")
    try:
        answer = server.line.ask("GET", "/metrics", key=server.key)
    except Silent as reason:
        return unknown(NAME, server, f"{tried}: {reason}", tried)
    if answer.status != 200:
        what = f"no metrics on the API's port: {tried} answers {answer.status}"
        mend = "vLLM and Penstock serve /metrics on the port of the API: let the proxy in front pass it to Prometheus"
        return wrong(NAME, server, what, mend, (server.seen(f"{tried} → {answer.told}"),), tried)
    names = {_plain(name.decode()) for name in _NAME.findall(answer.body)}
    stale = sorted(name for name in names if name in OLD)
    if not stale:
        return ok(NAME, server, "metrics of today's names on the API's port", tried)
    return wrong(
        NAME,
        server,
        f"metrics of an old generation: {', '.join(stale)}; dashboards and alerts for today's names stay empty",
        "bring vLLM up to date; until then ask for both names: "
        + ", ".join(f"{name} or {OLD[name]}" for name in stale),
        tuple(server.seen(f"{tried} → {name}") for name in stale),
        tried,
    )


def _plain(name: str) -> str:
    """The metric's name without what Prometheus adds for counters and histograms."""
    return re.sub(r"_(?:total|bucket|sum|count|created)$", "", name)


CHECK = Check(
    name=NAME,
    rows="W6, W27",
    title="metrics under their old names, or not on the API's port",
    asks="`GET /metrics`",
    look=look,
)
