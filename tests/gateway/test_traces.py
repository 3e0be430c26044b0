"""Which requests are traced, how many wait, and how large exports travel."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span
from tests.fakes.collector import Collector, GrpcCollector, HttpCollector
from tests.gateway.fleets import Still, config, vllm
from tests.gateway.memory import Client, Kept

from penstock.config_otel import Otel
from penstock.errors import ConfigError
from penstock.gateway.line import Line
from penstock.gateway.otel.export import Sender
from penstock.gateway.otel.spans import spans_of
from penstock.gateway.otel.telemetry import sender
from penstock.gateway.trace import continued
from penstock.gateway.traces import Traces, traceparent
from penstock.protocols.table import ROUTES

BODY = json.dumps({"model": "nobody", "messages": []}).encode()


def traced(traces: Traces, count: int, *headers: tuple[bytes, bytes]) -> None:
    """Let so many requests come to their end at once: a model that nobody has."""

    async def run() -> None:
        fleet = Still(config({"b": vllm()}, [(["b"], "m")]))
        line = Line(fleet.settings, fleet, Kept())
        line.traces = traces
        for _ in range(count):
            line.open(ROUTES[b"/v1/chat/completions"], dict(headers)).start(BODY, Client("openai", stream=False))
        fleet.close()

    asyncio.run(run())


def test_what_waits_for_a_collector_is_bounded_and_the_rest_is_counted() -> None:
    traces = Traces(1.0, 10)
    traced(traces, 25)
    assert (len(traces.queue), traces.dropped) == (10, 15)


def test_what_is_not_chosen_is_not_kept() -> None:
    traces = Traces(0.0, 10)
    traced(traces, 25)
    assert (len(traces.queue), traces.dropped) == (0, 0)


def test_a_share_is_chosen() -> None:
    traces = Traces(0.3, 10_000)
    traced(traces, 2000)
    assert 450 < len(traces.queue) < 750


@pytest.mark.parametrize(("flags", "kept"), [(b"00", 0), (b"01", 1), (b"03", 1), (b"02", 0), (b"ff", 1)])
def test_the_flag_of_the_client_decides(flags: bytes, kept: int) -> None:
    traces = Traces(1.0 - kept, 10)
    traced(traces, 1, (b"traceparent", b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-" + flags))
    assert len(traces.queue) == kept


@pytest.mark.parametrize("given", [b"", b"00", b"00-nonsense-01", b"00-" + b"0" * 32 + b"-" + b"b" * 16 + b"-01"])
def test_a_malformed_one_decides_nothing_and_is_nobodys_parent(given: bytes) -> None:
    traces = Traces(1.0, 10)
    traced(traces, 1, (b"traceparent", given))
    assert len(traces.queue) == 1
    (span,) = spans_of(traces.queue[0])
    assert span.parent_span_id == b""


def test_a_new_trace_is_one_that_others_go_on_with() -> None:
    assert continued(traceparent(sampled=True)).endswith(b"-01")
    assert continued(traceparent(sampled=False)).endswith(b"-00")


@pytest.fixture(params=[HttpCollector, GrpcCollector])
def made(request: pytest.FixtureRequest) -> type[Collector]:
    """Both ways to a collector."""
    kind: type[Collector] = request.param
    return kind


def to(collector: Collector) -> Sender:
    """The gateway's own way there."""
    protocol = "grpc" if isinstance(collector, GrpcCollector) else "http"
    return sender(Otel(endpoint=collector.endpoint, protocol=protocol), {})  # type: ignore[arg-type]


def test_an_export_beyond_every_window_arrives_whole(made: Callable[[], Collector]) -> None:
    """Half a megabyte: more than a frame, than HTTP/2's first windows, and than one read; and another one after it."""
    spans = [Span(name=f"{number:04d}" * 32, trace_id=b"t" * 16, span_id=b"s" * 8) for number in range(3000)]
    told = ExportTraceServiceRequest(resource_spans=[ResourceSpans(scope_spans=[ScopeSpans(spans=spans)])])
    data = told.SerializeToString()
    assert len(data) > 400_000
    with made() as collector:  # type: ignore[attr-defined]
        way = to(collector)
        assert [way.send("traces", data).why for _ in range(3)] == ["", "", ""]
        assert [span.name for span in collector.spans(9000)] == [span.name for span in spans] * 3
        way.close()


def test_a_collector_that_began_anew_is_reached_again(made: Callable[[], Collector]) -> None:
    """The connection that was kept is dead; the next export opens another, without an error."""
    empty = ExportTraceServiceRequest().SerializeToString()
    with made() as collector:  # type: ignore[attr-defined]
        way = to(collector)
        assert not way.send("traces", empty).why
        collector.restart()
        assert not way.send("traces", empty).why
        way.close()


@pytest.mark.parametrize("text", ["novalue", "a b=c", "x=%0d%0aevil: 1"])
def test_headers_that_are_none_are_refused(text: str) -> None:
    """Nothing breaks out of a header."""
    with pytest.raises(ConfigError, match="OUR_HEADERS"):
        sender(Otel(endpoint="http://127.0.0.1:4318", headers_env="OUR_HEADERS"), {"OUR_HEADERS": text})
