"""The engine's own figures from pages of metrics."""

from __future__ import annotations

import pytest

from penstock.bench.gauges import read_gauges, tells
from penstock.faults.condition import Gauges, metrics

LLAMA = b"""# TYPE llamacpp:requests_processing gauge
llamacpp:requests_processing 3
llamacpp:requests_deferred 2
llamacpp:tokens_predicted_total 99
"""
GATEWAY = b"""penstock_engine_requests_running{backend="a"} 2.0
penstock_engine_requests_running{backend="b"} 3.0
penstock_engine_requests_waiting{backend="a"} 1.0
penstock_engine_kv_cache_usage_ratio{backend="a"} 0.25
penstock_engine_kv_cache_usage_ratio{backend="b"} 0.75
penstock_tokens_total{alias="m",backend="a",direction="prompt"} 1000.0
penstock_tokens_total{alias="m",backend="a",direction="completion"} 40.0
"""


@pytest.mark.parametrize("old", [True, False])
def test_both_generations_of_vllms_names(old: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """S0.4: `vllm:gpu_cache_usage_perc` until 0.10, `vllm:kv_cache_usage_perc` since."""
    page = metrics(Gauges(running=7, waiting=5, cache=0.875, old=old), "m", 0, 100, 200, 3, asleep=False)
    found = read_gauges(page, 1.5)
    assert (found.at, found.running, found.waiting, found.kv_use, found.generated) == (1.5, 7, 5, 0.875, 200)


def test_llama_cpp_tells_no_cache() -> None:
    found = read_gauges(LLAMA, 0.0)
    assert (found.running, found.waiting, found.kv_use, found.generated) == (3, 2, None, 99)


def test_what_the_gateway_passes_on() -> None:
    found = read_gauges(GATEWAY, 0.0)
    assert (found.running, found.waiting, found.kv_use, found.generated) == (5, 1, 0.75, 40)


def test_a_page_of_something_else_tells_nothing() -> None:
    assert not tells(read_gauges(b"process_cpu_seconds_total 12\nvllm:num_requests_running\n<html>", 0.0))
