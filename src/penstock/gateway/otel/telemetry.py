"""OpenTelemetry of one process: one thread takes what was kept of requests, and figures now and then, and sends both to a collector.

A collector that is down, slow or overloaded costs nobody anything: what waits for it is bounded, what does not fit is dropped
and counted, and the thread gives the interpreter away after each request that it formats.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import structlog
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from penstock import __version__
from penstock.config import BackendTls
from penstock.config_otel import Otel
from penstock.errors import ConfigError
from penstock.gateway import tls
from penstock.gateway.metrics import Gauges, Snapshot
from penstock.gateway.otel import figures, spans
from penstock.gateway.otel.export import Outcome, Sender, Signal
from penstock.gateway.otel.over_grpc import GrpcSender
from penstock.gateway.otel.over_http import HttpSender
from penstock.gateway.traces import Traces

if TYPE_CHECKING:
    from penstock.gateway.line import Line

log = structlog.stdlib.get_logger("penstock.otel")

ROOM = 4096
"""Requests that may wait for the collector."""
AT_ONCE = 256
"""Requests in one export."""
EVERY = 0.5
"""Seconds between two exports of what has come together, when there is less than a full one."""
TRIES = 5
"""How often the same bytes are sent, at most."""
FIRST_REST, LONGEST_REST = 1.0, 30.0
"""Seconds between two tries; the collector's own word counts up to the longest."""
QUIET = 60.0
"""Seconds between two lines of the log about a collector that takes nothing."""
LAST = 2.0
"""Seconds for what is left when the process ends."""
GRPC = 4317


class Telemetry:
    """The queue's other end."""

    def __init__(self, settings: Otel, line: Line, worker: int) -> None:
        self._line = line
        self._every = settings.figures
        self.traces = Traces(settings.sample, ROOM)
        self._sender = sender(settings, os.environ)
        self._where = settings.endpoint
        self._resource = Resource(attributes=spans.attributes(_resource(settings, worker)))
        self._scope = InstrumentationScope(name="penstock", version=__version__)
        self._figures: Snapshot | None = None
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="telemetry", daemon=True)
        self._task: asyncio.Task[None] | None = None
        self._said = -QUIET
        self.exported = {"traces": 0, "metrics": 0}
        self.dropped = {"collector": 0, "rejected": 0}
        self.failed = 0

    def start(self) -> None:
        """Begin to export."""
        self._thread.start()
        self._task = asyncio.create_task(self._tell_figures(), name="figures for the collector")

    async def stop(self) -> None:
        """Export what is left, within `LAST`."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._figures = self._line.snapshot()
        self._stop.set()
        self._wake.set()
        await asyncio.to_thread(self._thread.join, LAST)

    def gauges(self) -> Gauges:
        """For the figures; the counters are set on the way."""
        metrics, traces = self._line.metrics, self.traces
        metrics.total("penstock_otel_dropped", traces.dropped, "queue")
        for reason, count in self.dropped.items():
            metrics.total("penstock_otel_dropped", count, reason)
        for signal, count in self.exported.items():
            metrics.total("penstock_otel_exported", count, signal)
        metrics.total("penstock_otel_failures", self.failed)
        return {"penstock_otel_queue": [((), float(len(traces.queue)))]}

    async def _tell_figures(self) -> None:
        """Figures are only read by the loop that changes them; the thread makes bytes of the copy."""
        while True:
            await asyncio.sleep(self._every)
            self._figures = self._line.snapshot()

    # ── the thread ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _run(self) -> None:
        while not self._stop.is_set():
            self._wake.wait(EVERY)
            self._round()
        self._round()
        self._sender.close()

    def _round(self) -> None:
        while self.traces.queue:
            count = min(len(self.traces.queue), AT_ONCE)
            self._export("traces", self._spans(count), count)
        seen, self._figures = self._figures, None
        if seen is not None:
            began = int(self._line.started * 1e9)
            told = figures.request_of(seen, began, time.time_ns(), self._resource, self._scope)
            self._export("metrics", told.SerializeToString(), 1)

    def _spans(self, count: int) -> bytes:
        told: ExportTraceServiceRequest | None = None
        for _ in range(count):
            one = spans.request_of([self.traces.queue.popleft()], self._resource, self._scope)
            if told is None:
                told = one
            else:
                told.resource_spans[0].scope_spans[0].spans.extend(one.resource_spans[0].scope_spans[0].spans)
            # Else the loop would wait for its turn until the whole batch is made.
            time.sleep(0)
        return told.SerializeToString() if told is not None else b""

    def _export(self, signal: Signal, data: bytes, count: int) -> None:
        rest = FIRST_REST
        for tried in range(1, TRIES + 1):
            outcome = self._sender.send(signal, data)
            if not outcome.why:
                self._taken(signal, outcome, count)
                return
            self.failed += 1
            self._complain(outcome)
            if not outcome.again or tried == TRIES or self._stop.wait(min(outcome.wait or rest, LONGEST_REST)):
                break
            rest = min(rest * 2, LONGEST_REST)
        if signal == "traces":
            self.dropped["collector"] += count

    def _taken(self, signal: Signal, outcome: Outcome, count: int) -> None:
        refused = _rejected(signal, outcome.answer)
        self.exported[signal] += count
        if refused:
            self.dropped["rejected"] += refused
            self._complain(Outcome(f"it rejected {refused} of what it was sent"))

    def _complain(self, outcome: Outcome) -> None:
        now = time.monotonic()
        if now - self._said >= QUIET:
            self._said = now
            log.warning("the collector takes no telemetry", endpoint=self._where, reason=outcome.why)


def sender(settings: Otel, environ: Mapping[str, str]) -> Sender:
    """The way to the collector: gRPC on its port for that, HTTP on every other, or what the configuration says."""
    parts = urlsplit(settings.endpoint)
    context: ssl.SSLContext | None = None
    if parts.scheme == "https":
        context = tls.towards(BackendTls(ca=settings.ca))
    grpc = settings.protocol == "grpc" or (settings.protocol == "auto" and parts.port == GRPC)
    made: Callable[[str, Mapping[str, str], ssl.SSLContext | None], Sender] = GrpcSender if grpc else HttpSender
    return made(settings.endpoint, _headers(settings, environ), context)


def _headers(settings: Otel, environ: Mapping[str, str]) -> dict[str, str]:
    """`key=value,key=value`, percent-encoded, as OpenTelemetry's own variable has them."""
    text = environ.get(settings.headers_env, "") if settings.headers_env else ""
    found: dict[str, str] = {}
    for pair in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = pair.partition("=")
        name, value = name.strip(), unquote(value.strip())
        if (
            not equals
            or not name.isascii()
            or not name.replace("-", "").replace("_", "").isalnum()
            or not value.isprintable()
        ):
            msg = f"Reading the headers for the collector from {settings.headers_env}: an entry is no NAME=VALUE."
            raise ConfigError(msg, hint="Write api-key=…,x-scope=…, with %2C for a comma in a value.")
        found[name] = value
    return found


def _resource(settings: Otel, worker: int) -> list[tuple[str, spans.Value]]:
    return [
        ("service.name", settings.service_name),
        ("service.version", __version__),
        ("service.instance.id", f"{os.uname().nodename}-{os.getpid()}"),
        ("penstock.worker", worker),
    ]


def _rejected(signal: Signal, answer: bytes) -> int:
    """How much of an export a collector did not want, by its own word; what cannot be read says nothing."""
    try:
        if signal == "traces":
            return ExportTraceServiceResponse.FromString(answer).partial_success.rejected_spans
        return ExportMetricsServiceResponse.FromString(answer).partial_success.rejected_data_points
    except DecodeError:
        return 0
