"""The gateway's figures as OpenTelemetry metrics: the names of `/metrics`, and the conventions' own for generative AI. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.metrics.v1 import metrics_pb2 as told
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from penstock.gateway.metrics import COUNTERS, GAUGES, HISTOGRAMS, SECONDS, Histogram, Labels, Snapshot
from penstock.gateway.otel.spans import attributes

CONVENTIONS = {
    "penstock_request_seconds": "gen_ai.server.request.duration",
    "penstock_time_to_first_token_seconds": "gen_ai.server.time_to_first_token",
    "penstock_inter_token_seconds": "gen_ai.server.time_per_output_token",
}
"""Histograms that the semantic conventions have a name for; told under both."""
_CUMULATIVE = told.AGGREGATION_TEMPORALITY_CUMULATIVE


def request_of(
    snapshot: Snapshot, began: int, now: int, resource: Resource, scope: InstrumentationScope
) -> ExportMetricsServiceRequest:
    """What an exporter sends for these figures; times are nanoseconds since 1970."""
    metrics = [*_counters(snapshot, began, now), *_histograms(snapshot, began, now), *_gauges(snapshot, now)]
    scoped = told.ScopeMetrics(scope=scope, metrics=metrics)
    return ExportMetricsServiceRequest(
        resource_metrics=[told.ResourceMetrics(resource=resource, scope_metrics=[scoped])]
    )


def _counters(snapshot: Snapshot, began: int, now: int) -> Iterator[told.Metric]:
    for name, (text, names) in COUNTERS.items():
        points = [
            told.NumberDataPoint(
                attributes=attributes(zip(names, labels, strict=True)),
                start_time_unix_nano=began,
                time_unix_nano=now,
                as_double=value,
            )
            for labels, value in snapshot.counters.get(name, ())
        ]
        if points:
            total = told.Sum(data_points=points, aggregation_temporality=_CUMULATIVE, is_monotonic=True)
            yield told.Metric(name=f"{name}_total", description=text, sum=total)


def _histograms(snapshot: Snapshot, began: int, now: int) -> Iterator[told.Metric]:
    for name, (text, names) in HISTOGRAMS.items():
        points = [_distribution(names, labels, one, began, now) for labels, one in snapshot.histograms.get(name, ())]
        if not points:
            continue
        for known in filter(None, (name, CONVENTIONS.get(name))):
            whole = told.Histogram(data_points=points, aggregation_temporality=_CUMULATIVE)
            yield told.Metric(name=known, description=text, unit="s", histogram=whole)


def _distribution(names: Labels, labels: Labels, one: Histogram, began: int, now: int) -> told.HistogramDataPoint:
    return told.HistogramDataPoint(
        attributes=attributes(zip(names, labels, strict=True)),
        start_time_unix_nano=began,
        time_unix_nano=now,
        count=sum(one.counts),
        sum=one.total,
        bucket_counts=one.counts,
        explicit_bounds=SECONDS,
    )


def _gauges(snapshot: Snapshot, now: int) -> Iterator[told.Metric]:
    for name, (text, names) in GAUGES.items():
        points = [
            told.NumberDataPoint(
                attributes=attributes(zip(names, labels, strict=True)), time_unix_nano=now, as_double=value
            )
            for labels, value in snapshot.gauges.get(name, ())
        ]
        if points:
            yield told.Metric(name=name, description=text, gauge=told.Gauge(data_points=points))
