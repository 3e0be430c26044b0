"""The engine's own figures while it is under load: running, waiting, use of the KV cache, tokens made.

Read from `/metrics` of vLLM in either generation of its names, of llama.cpp, or of a Penstock gateway, which re-exports what its
engines say. Only the wanted lines are looked at: a page of vLLM's is long, and parsing it whole would hold up the measuring.
"""

from __future__ import annotations

import asyncio
import re
import time
from contextlib import suppress
from typing import Final

from penstock.bench.results import Gauge
from penstock.bench.wire import Origin, get
from penstock.errors import EngineFault

LIMIT: Final = 5.0
MOST: Final = 20_000
"""Moments that are kept of one level."""

_SOURCES: Final[dict[str, tuple[bytes, ...]]] = {
    "running": (b"vllm:num_requests_running", b"llamacpp:requests_processing", b"penstock_engine_requests_running"),
    "waiting": (b"vllm:num_requests_waiting", b"llamacpp:requests_deferred", b"penstock_engine_requests_waiting"),
    "kv_use": (
        b"vllm:kv_cache_usage_perc",
        b"vllm:gpu_cache_usage_perc",
        b"llamacpp:kv_cache_usage_ratio",
        b"penstock_engine_kv_cache_usage_ratio",
    ),
    "generated": (b"vllm:generation_tokens_total", b"llamacpp:tokens_predicted_total", b"penstock_tokens_total"),
}
_LINE = re.compile(
    rb"^(" + b"|".join(re.escape(name) for names in _SOURCES.values() for name in names) + rb")(\{[^\n]*\})? (\S+)",
    re.MULTILINE,
)
_PROMPT = b'direction="prompt"'


def read_gauges(page: bytes, at: float) -> Gauge:
    """One page of metrics: sums over engines, but for the use of the cache, of which the highest counts."""
    found: dict[bytes, list[float]] = {}
    for name, labels, value in _LINE.findall(page):
        if _PROMPT in labels:
            continue
        with suppress(ValueError):
            found.setdefault(name, []).append(float(value))
    told = {what: next((found[name] for name in names if name in found), None) for what, names in _SOURCES.items()}
    running, waiting, kv_use, generated = (told[what] for what in ("running", "waiting", "kv_use", "generated"))
    return Gauge(
        at=at,
        running=None if running is None else sum(running),
        waiting=None if waiting is None else sum(waiting),
        kv_use=None if kv_use is None else max(kv_use),
        generated=None if generated is None else sum(generated),
    )


def tells(gauge: Gauge) -> bool:
    """Whether there is anything in it."""
    return any(value is not None for value in (gauge.running, gauge.waiting, gauge.kv_use, gauge.generated))


async def look(origin: Origin, path: str, began: float) -> Gauge | None:
    """The figures now; None where the page does not come."""
    try:
        answer = await get(origin, path, LIMIT)
    except EngineFault:
        return None
    return read_gauges(bytes(answer.body), time.monotonic() - began) if answer.status == 200 else None


async def watch(origin: Origin, path: str, every: float, began: float, seen: list[Gauge]) -> None:
    """Add what is seen every so many seconds until cancelled."""
    while len(seen) < MOST:
        gauge = await look(origin, path, began)
        if gauge is not None and tells(gauge):
            seen.append(gauge)
        await asyncio.sleep(every)
