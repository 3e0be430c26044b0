"""What a scrape reads, checked by the parser that scrapers use."""

from __future__ import annotations

import math

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from penstock.gateway.metrics import (
    COUNTERS,
    GAUGES,
    HISTOGRAMS,
    MOST,
    SECONDS,
    Histogram,
    Labels,
    Metrics,
    Snapshot,
    merged,
    render,
)

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def parsed(snapshot: Snapshot) -> Samples:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(render(snapshot).decode())
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples[name, frozenset(labels.items())]


def worker() -> Metrics:
    metrics = Metrics()
    series = metrics.series("a", "gpu", "chat")
    series.statuses.update({200: 3, 502: 1})
    series.prompt_tokens, series.completion_tokens = 30, 40
    for seconds in (0.002, 0.2, 1000.0):
        series.seconds.observe(seconds)
    series.first_token.observe(0.1)
    metrics.series("a", "", "chat").statuses[503] = 2
    metrics.count("penstock_fallback", "gpu", "spare", "5xx", by=2)
    metrics.queued("a", 0.3)
    return metrics


GAUGED: dict[str, list[tuple[Labels, float]]] = {
    "penstock_requests_active": [(("gpu",), 2.0)],
    "penstock_engine_kv_cache_usage_ratio": [(("gpu",), 0.5)],
    "penstock_backend_up": [(("gpu", "vllm"), 1.0)],
    "penstock_workers": [((), 1.0)],
    "tensafe_vllm_kv_cache_utilization": [((), 0.5)],
}


def test_the_page_says_what_was_counted() -> None:
    found = parsed(worker().snapshot(GAUGED))
    assert value(found, "penstock_requests_total", alias="a", backend="gpu", operation="chat", status="200") == 3
    assert value(found, "penstock_requests_total", alias="a", backend="", operation="chat", status="503") == 2
    assert value(found, "penstock_tokens_total", alias="a", backend="gpu", direction="prompt") == 30
    assert value(found, "penstock_tokens_total", alias="a", backend="gpu", direction="completion") == 40
    assert value(found, "penstock_fallback_total", **{"from": "gpu", "to": "spare", "reason": "5xx"}) == 2
    assert value(found, "penstock_queue_seconds_count", alias="a") == 1
    assert value(found, "penstock_requests_active", backend="gpu") == 2


def test_names_that_the_documents_promise() -> None:
    """S2.22"""
    found = parsed(worker().snapshot(GAUGED))
    assert value(found, "tensafe_vllm_requests_total", status="200") == 3
    assert value(found, "tensafe_vllm_requests_total", status="503") == 2
    assert value(found, "tensafe_vllm_tokens_generated_total") == 40
    assert value(found, "tensafe_vllm_latency_seconds_count") == 3
    assert value(found, "tensafe_vllm_latency_seconds_sum") == pytest.approx(1000.202)
    assert value(found, "tensafe_vllm_kv_cache_utilization") == 0.5


def test_buckets_are_cumulative() -> None:
    found = parsed(worker().snapshot({}))
    labels = {"alias": "a", "backend": "gpu"}
    counts = [value(found, "penstock_request_seconds_bucket", **labels, le=str(bound)) for bound in (*SECONDS, "+Inf")]
    assert counts == sorted(counts)
    assert counts[SECONDS.index(0.0025)] == 1
    assert counts[SECONDS.index(0.25)] == counts[-2] == 2
    assert counts[-1] == value(found, "penstock_request_seconds_count", **labels) == 3


@given(st.lists(st.floats(0, 2000, allow_nan=False), max_size=30))
@settings(max_examples=50)
def test_a_value_is_in_every_bucket_that_it_fits(values: list[float]) -> None:
    metrics = Metrics()
    for seconds in values:
        metrics.queued("a", seconds)
    found = parsed(metrics.snapshot({}))
    for bound in (*SECONDS, math.inf) if values else ():
        le = "+Inf" if bound == math.inf else str(bound)
        fits = sum(one <= bound for one in values)
        assert value(found, "penstock_queue_seconds_bucket", alias="a", le=le) == fits


def test_an_unused_worker_renders_too() -> None:
    text = render(Metrics().snapshot({})).decode()
    families = {family.name for family in text_string_to_metric_families(text)}
    assert families == {*COUNTERS, *HISTOGRAMS, *GAUGES}
    assert "# EOF" not in text


@given(st.text(max_size=12), st.text(max_size=12))
@settings(max_examples=50)
def test_any_label_survives(alias: str, option: str) -> None:
    metrics = Metrics()
    metrics.series(alias, "b", "chat").statuses[200] = 1
    metrics.count("penstock_options_dropped", option, "vllm")
    found = parsed(metrics.snapshot({}))
    assert value(found, "penstock_requests_total", alias=alias, backend="b", operation="chat", status="200") == 1
    assert value(found, "penstock_options_dropped_total", option=option, kind="vllm") == 1


def test_two_workers_add_up_as_one() -> None:
    one = worker().snapshot(GAUGED)
    other = worker().snapshot({**GAUGED, "penstock_engine_kv_cache_usage_ratio": [(("gpu",), 0.75)]})
    travelled = msgspec.json.decode(msgspec.json.encode(other), type=Snapshot)
    both, single = parsed(merged([one, travelled])), parsed(one)
    assert both.keys() == single.keys()
    gauges = {name for name, _ in both if name in GAUGES}
    for (name, labels), total in both.items():
        if name not in gauges:
            assert total == 2 * single[name, labels], name
    assert value(both, "penstock_requests_active", backend="gpu") == 4
    assert value(both, "penstock_workers") == 2
    assert value(both, "penstock_backend_up", backend="gpu", kind="vllm") == 1
    assert value(both, "penstock_engine_kv_cache_usage_ratio", backend="gpu") == 0.75


def test_merging_leaves_what_is_merged_alone() -> None:
    metrics = worker()
    before = render(metrics.snapshot(GAUGED))
    merged([metrics.snapshot(GAUGED), worker().snapshot(GAUGED)])
    assert render(metrics.snapshot(GAUGED)) == before


def test_a_histogram_adds() -> None:
    one, other = Histogram(), Histogram()
    one.observe(0.001)
    other.observe(700.0)
    one.add(other)
    assert (one.counts[0], one.counts[-1], sum(one.counts)) == (1, 1, 2)
    assert one.total == pytest.approx(700.001)


def test_what_replicas_that_are_gone_had_counted_is_added_up() -> None:
    """Pods come and go for months; neither a total nor the number of series may show it."""
    live = {"gpu"}
    one = Metrics(lambda: live)
    for number in range(3 * MOST):
        name = f"gpu-{number:08x}"
        live = {"gpu", name}
        counted = one.series("m", name, "chat")
        counted.statuses[200] = 1
        counted.completion_tokens = 2
        counted.seconds.observe(0.1)
        one.count("penstock_attempts_failed", name, "connect")
        one.count("penstock_fallback", "gpu", name, "5xx")
    told = one.snapshot({})
    for name, many in (
        ("penstock_requests", 3 * MOST),
        ("penstock_attempts_failed", 3 * MOST),
        ("penstock_fallback", 3 * MOST),
    ):
        assert sum(value for _, value in told.counters[name]) == many
        assert len(told.counters[name]) <= MOST + 2
    tokens = sum(value for labels, value in told.counters["penstock_tokens"] if labels[2] == "completion")
    assert tokens == 6 * MOST
    assert sum(sum(one.counts) for _, one in told.histograms["penstock_request_seconds"]) == 3 * MOST
    assert one.ended("m") == 3 * MOST
