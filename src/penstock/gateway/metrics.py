"""Counters and histograms that cost a tenth of a microsecond to touch, rendered by prometheus_client.

The hot lane keeps one `Series` per (alias, backend, operation) and adds to plain numbers. A scrape takes a snapshot,
merges those of other workers, and leaves names, escaping and formats to the library. No other file spells a metric.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Iterator

import msgspec
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

Labels = tuple[str, ...]

GONE = "gone"
"""The label of backends that are no more, once there are too many of them."""
MOST = 4000
"""Series, or labels of one counter, above which those of backends that are gone are added up."""
Gauges = dict[str, list[tuple[Labels, float]]]

SECONDS = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
    120.0,
    300.0,
    600.0,
)

COUNTERS: dict[str, tuple[str, Labels]] = {
    "penstock_requests": ("Requests answered or refused.", ("alias", "backend", "operation", "status")),
    "penstock_tokens": ("Tokens as the engines counted them.", ("alias", "backend", "direction")),
    "penstock_fallback": ("Answers that did not come from the first target.", ("from", "to", "reason")),
    "penstock_attempts_failed": ("Attempts on a backend that failed.", ("backend", "reason")),
    "penstock_retries_denied": ("Attempts not made because the alias' retry budget was spent.", ("alias",)),
    "penstock_fleet_file": ("Reads of a fleet file that had changed.", ("result",)),
    "penstock_refused": ("Requests refused before any backend was asked.", ("code",)),
    "penstock_quota_refused": ("Requests refused by a limit of a key or a tenant.", ("limit",)),
    "penstock_quota_leases": ("Blocks of budgets asked of the state.", ("result",)),
    "penstock_streams_broken": ("Begun streams that ended in an explicit error.", ("alias", "backend", "reason")),
    "penstock_guardrails": ("What guardrails did to requests and answers.", ("alias", "step", "verdict")),
    "penstock_tenant_requests": ("Requests of a tenant that are over.", ("tenant", "outcome")),
    "penstock_tenant_tokens": ("Tokens of a tenant, as the engines counted them.", ("tenant", "direction")),
    "penstock_midstream": ("Begun streams whose engine failed, where the alias goes on.", ("alias", "how", "outcome")),
    "penstock_canary_requests": ("Requests of an alias with a canary, by side and end.", ("alias", "side", "outcome")),
    "penstock_canary_events": ("What was done to the path of an alias.", ("alias", "event")),
    "penstock_clients_gone": ("Clients that left before their answer was whole.", ("alias", "phase")),
    "penstock_options_dropped": ("Options a client asked for that the backend has no word for.", ("option", "kind")),
    "penstock_config_reloads": ("Reloads of the configuration.", ("result",)),
    "penstock_certificate_reloads": ("Certificates whose files had changed.", ("result",)),
    "penstock_tls_refused": ("Handshakes of clients that failed.", ("reason",)),
    "penstock_exhausted": ("Connections for which this machine had nothing left.", ("what",)),
    "penstock_log_lines_lost": ("Lines of the log that could not be written, or not fast enough.", ()),
    "penstock_receipts_lost": ("Lines of receipts that could not be written and found no room in memory.", ()),
    "penstock_otel_exported": ("Requests, and sets of figures, that a collector took.", ("signal",)),
    "penstock_otel_dropped": ("Traced requests that no collector will have.", ("reason",)),
    "penstock_otel_failures": ("Exports that failed, each try of them.", ()),
    "penstock_state_failures": ("Attempts to write the state that failed.", ()),
    "penstock_shadow_sent": ("Copies of requests sent to a shadow.", ("alias", "backend")),
    "penstock_shadow_skipped": ("Requests chosen for a shadow of which no pair came.", ("alias", "reason")),
    "penstock_shadow_pairs": ("Pairs of answers that were compared.", ("alias", "outcome")),
    "tensafe_vllm_requests": ("Requests by status.", ("status",)),
    "tensafe_vllm_tokens_generated": ("Tokens generated.", ()),
}
HISTOGRAMS: dict[str, tuple[str, Labels]] = {
    "penstock_request_seconds": ("From the first byte of a request to the last of its answer.", ("alias", "backend")),
    "penstock_time_to_first_token_seconds": ("From arrival to the first content of a stream.", ("alias", "backend")),
    "penstock_inter_token_seconds": ("Between two pieces of a stream.", ("alias", "backend")),
    "penstock_queue_seconds": ("Waiting for a slot.", ("alias",)),
    "tensafe_vllm_latency_seconds": ("Request latency.", ()),
}
GAUGES: dict[str, tuple[str, Labels]] = {
    "penstock_requests_active": ("Requests under way.", ("backend",)),
    "penstock_queue_depth": ("Requests waiting for a slot.", ()),
    "penstock_queue_tenant_depth": ("Requests of a tenant that wait for a slot.", ("tenant",)),
    "penstock_backend_up": ("1 when the backend is up and serves its model.", ("backend", "kind")),
    "penstock_replicas": ("Engines that a backend of the configuration stands for.", ("backend",)),
    "penstock_breaker_state": ("0 closed, 1 half open, 2 open.", ("backend",)),
    "penstock_canary_share_percent": ("Share of a running canary.", ("alias",)),
    "penstock_override": ("1 while a promoted target stands before those of the file.", ("alias",)),
    "penstock_config_last_reload_successful": ("0 when the last reload was refused, in any worker.", ()),
    "penstock_config_last_reload_success_timestamp_seconds": ("When the configuration in use was taken.", ()),
    "penstock_state_unwritten": ("Places of answers and switches that the state does not have yet.", ()),
    "penstock_otel_queue": ("Traced requests that wait for the collector.", ()),
    "penstock_loop_lag_seconds": ("How late the event loop came round last.", ()),
    "penstock_descriptors_limit": ("Files and sockets that a worker may have open.", ()),
    "penstock_engine_requests_running": ("The engine's own count of running requests.", ("backend",)),
    "penstock_engine_requests_waiting": ("The engine's own queue depth.", ("backend",)),
    "penstock_engine_kv_cache_usage_ratio": ("The engine's own KV cache use, 0 to 1.", ("backend",)),
    "penstock_shadow_active": ("Copies of requests that shadows work on.", ("alias",)),
    "penstock_receipts_failing": ("1 while receipts cannot be written or brought to the disk, in any worker.", ()),
    "penstock_receipts_unwritten": ("Lines of receipts that wait in memory.", ()),
    "penstock_receipts_writer_up": ("1 while the process that writes the log of receipts runs.", ()),
    "penstock_receipts_spool_bytes": ("What waits on the disk to be logged.", ()),
    "penstock_receipts_logged": ("Entries of the log of receipts.", ()),
    "penstock_workers": ("Worker processes behind these figures.", ()),
    "tensafe_vllm_kv_cache_utilization": ("Highest KV cache use of all engines, 0 to 1.", ()),
}


class Histogram(msgspec.Struct):
    """Counts per bucket of `SECONDS`, the last one for everything above."""

    counts: list[int] = msgspec.field(default_factory=lambda: [0] * (len(SECONDS) + 1))
    total: float = 0.0

    def observe(self, seconds: float) -> None:
        """Add one value."""
        self.counts[bisect_left(SECONDS, seconds)] += 1
        self.total += seconds

    def add(self, other: Histogram) -> None:
        """Merge another worker's."""
        self.counts = [a + b for a, b in zip(self.counts, other.counts, strict=True)]
        self.total += other.total


class Snapshot(msgspec.Struct):
    """Everything one worker counted, in a form that travels."""

    counters: dict[str, list[tuple[Labels, float]]] = {}
    histograms: dict[str, list[tuple[Labels, Histogram]]] = {}
    gauges: dict[str, list[tuple[Labels, float]]] = {}


class Series:
    """The numbers of one (alias, backend, operation), touched by every request."""

    __slots__ = ("completion_tokens", "first_token", "inter_token", "labels", "prompt_tokens", "seconds", "statuses")

    def __init__(self, alias: str, backend: str, operation: str) -> None:
        self.labels = (alias, backend, operation)
        self.statuses: dict[int, int] = {}
        self.prompt_tokens = 0
        self.completion_tokens = 0
        self.seconds = Histogram()
        self.first_token = Histogram()
        self.inter_token = Histogram()

    def add(self, other: Series) -> None:
        """Take over what another one has counted."""
        for status, count in other.statuses.items():
            self.statuses[status] = self.statuses.get(status, 0) + count
        self.prompt_tokens += other.prompt_tokens
        self.completion_tokens += other.completion_tokens
        self.seconds.add(other.seconds)
        self.first_token.add(other.first_token)
        self.inter_token.add(other.inter_token)


class Metrics:
    """All numbers of one worker."""

    def __init__(self, live: Callable[[], Collection[str]] = tuple) -> None:
        self._live = live
        """The backends that there are."""
        self._series: dict[Labels, Series] = {}
        self._counters: dict[str, dict[Labels, float]] = {name: {} for name in COUNTERS}
        self._queue: dict[str, Histogram] = {}

    def series(self, alias: str, backend: str, operation: str) -> Series:
        """The series of these labels, made on first use; their values are bounded by the configuration."""
        key = (alias, backend, operation)
        found = self._series.get(key)
        if found is None:
            if len(self._series) >= MOST:
                self._fold()
            found = self._series[key] = Series(*key)
        return found

    def _fold(self) -> None:
        """Replicas come and go: what was counted of those that are gone stays counted, under one label."""
        live = {"", GONE, *self._live()}
        for key in [one for one in self._series if one[1] not in live]:
            one = self._series.pop(key)
            into = self._series.setdefault((key[0], GONE, key[2]), Series(key[0], GONE, key[2]))
            into.add(one)
        for name, (_, labels) in COUNTERS.items():
            places = [place for place, label in enumerate(labels) if label in {"backend", "from", "to"}]
            values = self._counters[name]
            for old in [one for one in values if any(one[place] not in live for place in places)]:
                new = tuple(GONE if place in places and part not in live else part for place, part in enumerate(old))
                values[new] = values.get(new, 0) + values.pop(old)

    def ended(self, alias: str) -> int:
        """Requests of an alias that are over."""
        return sum(sum(one.statuses.values()) for one in self._series.values() if one.labels[0] == alias)

    def count(self, name: str, *labels: str, by: float = 1) -> None:
        """Add to a counter that is not on the hot path."""
        values = self._counters[name]
        values[labels] = values.get(labels, 0) + by

    def total(self, name: str, value: float, *labels: str) -> None:
        """Set a counter that somebody else counts."""
        self._counters[name][labels] = value

    def queued(self, alias: str, seconds: float) -> None:
        """A request left the queue for a slot."""
        self._queue.setdefault(alias, Histogram()).observe(seconds)

    def snapshot(self, gauges: dict[str, list[tuple[Labels, float]]]) -> Snapshot:
        """All numbers as they are now."""
        counters = {name: dict(values) for name, values in self._counters.items()}
        histograms: dict[str, dict[Labels, Histogram]] = {name: {} for name in HISTOGRAMS}
        latency = histograms["tensafe_vllm_latency_seconds"].setdefault((), Histogram())
        for one in self._series.values():
            _expose(one, counters, histograms)
            latency.add(one.seconds)
        for alias, waited in self._queue.items():
            histograms["penstock_queue_seconds"][(alias,)] = waited
        return Snapshot(
            {name: list(values.items()) for name, values in counters.items()},
            {name: list(values.items()) for name, values in histograms.items()},
            gauges,
        )


def _expose(
    one: Series, counters: dict[str, dict[Labels, float]], histograms: dict[str, dict[Labels, Histogram]]
) -> None:
    alias, backend, operation = one.labels
    for status, count in one.statuses.items():
        _add(counters["penstock_requests"], (alias, backend, operation, str(status)), count)
        _add(counters["tensafe_vllm_requests"], (str(status),), count)
    if not backend:
        return
    _add(counters["penstock_tokens"], (alias, backend, "prompt"), one.prompt_tokens)
    _add(counters["penstock_tokens"], (alias, backend, "completion"), one.completion_tokens)
    _add(counters["tensafe_vllm_tokens_generated"], (), one.completion_tokens)
    for name, histogram in (
        ("penstock_request_seconds", one.seconds),
        ("penstock_time_to_first_token_seconds", one.first_token),
        ("penstock_inter_token_seconds", one.inter_token),
    ):
        histograms[name].setdefault((alias, backend), Histogram()).add(histogram)


def _add(values: dict[Labels, float], labels: Labels, by: float) -> None:
    values[labels] = values.get(labels, 0) + by


def merged(snapshots: Iterable[Snapshot]) -> Snapshot:
    """Several workers as one: counts add up, and of gauges only those that count requests do."""
    counters: dict[str, dict[Labels, float]] = {name: {} for name in COUNTERS}
    histograms: dict[str, dict[Labels, Histogram]] = {name: {} for name in HISTOGRAMS}
    gauges: dict[str, dict[Labels, float]] = {name: {} for name in GAUGES}
    for one in snapshots:
        for name, counted in one.counters.items():
            for labels, value in counted:
                _add(counters[name], tuple(labels), value)
        for name, observed in one.histograms.items():
            for labels, histogram in observed:
                histograms[name].setdefault(tuple(labels), Histogram()).add(histogram)
        for name, measured in one.gauges.items():
            for labels, value in measured:
                before = gauges[name].get(tuple(labels))
                gauges[name][tuple(labels)] = value if before is None else _joined(name, before, value)
    return Snapshot(
        {name: list(values.items()) for name, values in counters.items()},
        {name: list(values.items()) for name, values in histograms.items()},
        {name: list(values.items()) for name, values in gauges.items()},
    )


def _joined(name: str, one: float, other: float) -> float:
    if name in _ADDITIVE:
        return one + other
    return min(one, other) if name in _WORST else max(one, other)


_WORST = frozenset({"penstock_config_last_reload_successful"})
_ADDITIVE = frozenset(
    {
        "penstock_requests_active",
        "penstock_queue_depth",
        "penstock_queue_tenant_depth",
        "penstock_shadow_active",
        "penstock_otel_queue",
        "penstock_receipts_unwritten",
        "penstock_state_unwritten",
        "penstock_workers",
    }
)


class _Collector:
    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        for name, (text, names) in COUNTERS.items():
            counter = CounterMetricFamily(name, text, labels=names)
            for labels, value in self._snapshot.counters.get(name, ()):
                counter.add_metric(labels, value)
            yield counter
        for name, (text, names) in HISTOGRAMS.items():
            family = HistogramMetricFamily(name, text, labels=names)
            for labels, histogram in self._snapshot.histograms.get(name, ()):
                family.add_metric(labels, _buckets(histogram), histogram.total)
            yield family
        for name, (text, names) in GAUGES.items():
            gauge = GaugeMetricFamily(name, text, labels=names)
            for labels, value in self._snapshot.gauges.get(name, ()):
                gauge.add_metric(labels, value)
            yield gauge


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    found: list[tuple[str, float]] = []
    total = 0
    for bound, count in zip((*map(str, SECONDS), "+Inf"), histogram.counts, strict=True):
        total += count
        found.append((bound, total))
    return found


def render(snapshot: Snapshot) -> bytes:
    """The text a Prometheus scrape reads. Milliseconds of work: call it in a thread."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(snapshot))
    return generate_latest(registry)
