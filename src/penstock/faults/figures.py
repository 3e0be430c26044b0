"""The figures of a gateway that speaks Prometheus, as numbers by name and labels."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from penstock.faults.scenario import Failed
from penstock.faults.seen import Asking, request

Figures = dict[tuple[str, frozenset[tuple[str, str]]], float]


async def figures(url: str, path: str = "/metrics") -> Figures:
    """One scrape."""
    seen = await Asking(url, request(path), stream=False, face="openai").start().seen()
    if seen.status != 200:
        raise Failed(f"figures at {url}{path} were expected, seen: {seen}")
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(seen.body.decode())
        for sample in family.samples
    }
