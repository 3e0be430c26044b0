"""What a scripted engine tells about itself besides answering: health, models, version, load, metrics. Pure.

Both generations of vLLM's metric names are here, because scrapers must take both.
"""

from __future__ import annotations

import time

import msgspec

VERSION = "0.33.0"
_NEW = {"cache": "vllm:kv_cache_usage_perc", "hits": "vllm:prefix_cache_hits", "queries": "vllm:prefix_cache_queries"}
_OLD = {
    "cache": "vllm:gpu_cache_usage_perc",
    "hits": "vllm:gpu_prefix_cache_hits",
    "queries": "vllm:gpu_prefix_cache_queries",
}


class Model(msgspec.Struct, frozen=True):
    """One served model name."""

    name: str
    window: int = 4096
    parent: str | None = None


class Gauges(msgspec.Struct, frozen=True, kw_only=True):
    """What the metrics page shows; a test sets it to steer least-busy routing."""

    running: int | None = None
    """None: as many as really run."""
    waiting: int = 0
    cache: float = 0.0
    old: bool = False
    """Use the names vLLM had before 0.11."""


def models(served: dict[str, Model], owner: str, *, windows: bool) -> bytes:
    cards: list[dict[str, object]] = []
    for model in served.values():
        card: dict[str, object] = {
            "id": model.name,
            "object": "model",
            "created": int(time.time()),
            "owned_by": owner,
        }
        if windows:
            card |= {"root": model.parent or model.name, "parent": model.parent, "max_model_len": model.window}
            card["permission"] = []
        cards.append(card)
    return msgspec.json.encode({"object": "list", "data": cards})


def metrics(
    gauges: Gauges, model: str, running: int, prompt: int, generated: int, answered: int, *, asleep: bool
) -> bytes:
    names = _OLD if gauges.old else _NEW
    label = f'{{engine="0",model_name="{model}"}}'
    rows = [
        ("vllm:num_requests_running", "gauge", running if gauges.running is None else gauges.running),
        ("vllm:num_requests_waiting", "gauge", gauges.waiting),
        (names["cache"], "gauge", gauges.cache),
        (names["queries"] + "_total", "counter", prompt),
        (names["hits"] + "_total", "counter", 0),
        ("vllm:prompt_tokens_total", "counter", prompt),
        ("vllm:generation_tokens_total", "counter", generated),
    ]
    lines = []
    for name, kind, value in rows:
        lines += [f"# HELP {name} Scripted.", f"# TYPE {name} {kind}", f"{name}{label} {float(value)}"]
    lines.append("# TYPE vllm:engine_sleep_state gauge")
    for state, value in (("awake", not asleep), ("weights_offloaded", asleep), ("discard_all", False)):
        labels = f'{{engine="0",model_name="{model}",sleep_state="{state}"}}'
        lines.append(f"vllm:engine_sleep_state{labels} {float(value)}")
    finished = f'{{engine="0",finished_reason="stop",model_name="{model}"}}'
    lines += ["# TYPE vllm:request_success_total counter", f"vllm:request_success_total{finished} {float(answered)}"]
    lines += _histogram("vllm:time_to_first_token_seconds", model, answered)
    lines += _histogram(
        "vllm:time_per_output_token_seconds" if gauges.old else "vllm:inter_token_latency_seconds", model, generated
    )
    return ("\n".join(lines) + "\n").encode()


def _histogram(name: str, model: str, count: int) -> list[str]:
    def row(suffix: str, extra: str, value: float) -> str:
        return f'{name}{suffix}{{engine="0",{extra}model_name="{model}"}} {value}'

    buckets = [row("_bucket", f'le="{bound}",', float(count)) for bound in ("0.01", "0.1", "1.0", "+Inf")]
    return [f"# TYPE {name} histogram", *buckets, row("_sum", "", count * 0.005), row("_count", "", float(count))]


def openapi(routes: frozenset[str]) -> bytes:
    """Enough of the document to tell which routes there are."""
    paths = {path: {"post": {"responses": {"200": {"description": "Successful Response"}}}} for path in sorted(routes)}
    return msgspec.json.encode({"openapi": "3.1.0", "info": {"title": "FastAPI", "version": "0.1.0"}, "paths": paths})
