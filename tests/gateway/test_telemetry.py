"""What a collector gets of the gateway: spans and figures, read by OpenTelemetry's own messages; and a collector that fails costs nobody anything."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes as gen_ai
from opentelemetry.semconv._incubating.metrics import gen_ai_metrics
from opentelemetry.semconv.attributes import error_attributes as err
from opentelemetry.semconv.attributes import http_attributes as http
from opentelemetry.semconv.attributes import server_attributes as server
from opentelemetry.semconv.attributes import url_attributes as url
from tests.fakes.collector import Collector, GrpcCollector, HttpCollector, told
from tests.fakes.gateway import Config, Gateway, StartGateway
from tests.fakes.raw import Raw, once

from penstock.faults.engine import Engine
from penstock.faults.script import Script

CHAT = {"model": "m", "messages": [{"role": "user", "content": "hello wide world"}]}
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"


@pytest.fixture(params=[HttpCollector, GrpcCollector])
def collector(request: pytest.FixtureRequest) -> Iterator[Collector]:
    """Both ways to one."""
    with request.param() as one:
        yield one


@pytest.fixture
def http_collector() -> Iterator[HttpCollector]:
    with HttpCollector() as one:
        yield one


def config(engine: Engine, collector: Collector, **more: object) -> Config:
    """One backend, one alias, and this collector; figures twice a second."""
    protocol = "grpc" if isinstance(collector, GrpcCollector) else "http"
    return {
        "backends": {"first": {"kind": "vllm", "url": engine.url, "probe": "200ms"}},
        "aliases": {"m": {"targets": [{"backends": ["first"], "model": "m"}]}},
        "otel": {"endpoint": collector.endpoint, "protocol": protocol, "figures": "500ms", **more},
    }


async def figure(gateway: Gateway, name: str) -> float:
    """One of the gateway's own figures, all labels together."""
    page = (await once(gateway.url, "/metrics")).body.decode()
    return sum(
        float(line.rpartition(" ")[2]) for line in page.splitlines() if line.startswith((f"{name} ", f"{name}{{"))
    )


async def grows(gateway: Gateway, name: str, least: float = 1) -> None:
    """Until a figure has reached so much."""
    async with asyncio.timeout(30):
        while True:
            if await figure(gateway, name) >= least:
                return
            await asyncio.sleep(0.05)


def sent_on(engine: Engine) -> str:
    """The `traceparent` of the latest request that an engine got."""
    asked = [one for one in engine.requests if one.method == "POST"]
    return asked[-1].header("traceparent") or ""


async def test_a_request_is_two_spans_of_its_clients_trace(
    gateway: StartGateway, scripted_engine: Engine, collector: Collector
) -> None:
    """S2.21: names, kinds, parents and attributes are those of the semantic conventions, whichever way they travel."""
    one = await gateway(config(scripted_engine, collector, service_name="tensafe-vllm"))
    answer = await once(
        one.url, "/v1/chat/completions", {**CHAT, "stream": True}, f"traceparent: 00-{TRACE}-{PARENT}-01"
    )
    assert answer.status == 200
    asked, engines = await asyncio.to_thread(collector.spans, 2)
    sent = sent_on(scripted_engine).split("-")
    assert [span.trace_id.hex() for span in (asked, engines)] == [TRACE, TRACE] == [sent[1], sent[1]]
    assert asked.parent_span_id.hex() == PARENT
    assert engines.parent_span_id == asked.span_id
    assert engines.span_id.hex() == sent[2], "the engine's own spans hang below ours"
    assert (asked.kind, engines.kind) == (Span.SPAN_KIND_SERVER, Span.SPAN_KIND_CLIENT)
    assert (asked.name, engines.name) == ("POST /v1/chat/completions", "chat m")
    assert asked.start_time_unix_nano <= engines.start_time_unix_nano <= engines.end_time_unix_nano
    assert asked.end_time_unix_nano == engines.end_time_unix_nano
    ours, theirs = told(asked.attributes), told(engines.attributes)
    assert ours[http.HTTP_REQUEST_METHOD] == "POST"
    assert ours[http.HTTP_ROUTE] == ours[url.URL_PATH] == "/v1/chat/completions"
    assert ours[http.HTTP_RESPONSE_STATUS_CODE] == 200
    assert ours["penstock.alias"] == "m"
    assert theirs[gen_ai.GEN_AI_OPERATION_NAME] == gen_ai.GenAiOperationNameValues.CHAT.value
    assert theirs[gen_ai.GEN_AI_PROVIDER_NAME] == "vllm"
    assert theirs[gen_ai.GEN_AI_REQUEST_MODEL] == "m"
    assert theirs[gen_ai.GEN_AI_REQUEST_STREAM] is True
    assert theirs[gen_ai.GEN_AI_USAGE_INPUT_TOKENS] > 0
    assert theirs[gen_ai.GEN_AI_USAGE_OUTPUT_TOKENS] > 0
    assert theirs[gen_ai.GEN_AI_RESPONSE_FINISH_REASONS] == ("stop",)
    assert 0 < theirs[gen_ai.GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK] < 60
    assert (theirs[server.SERVER_ADDRESS], theirs[server.SERVER_PORT]) == ("127.0.0.1", scripted_engine.port)
    assert err.ERROR_TYPE not in ours
    assert asked.status.code == Status.STATUS_CODE_UNSET
    assert collector.resources[0]["service.name"] == "tensafe-vllm"
    assert {"service.version", "service.instance.id"} <= collector.resources[0].keys()


async def test_figures_go_to_the_collector(
    gateway: StartGateway, scripted_engine: Engine, collector: Collector
) -> None:
    """S2.21, S2.22: counters, gauges and histograms under our names, those of the document and those of the conventions."""
    one = await gateway(config(scripted_engine, collector))
    assert (await once(one.url, "/v1/chat/completions", CHAT)).status == 200
    duration = await asyncio.to_thread(collector.metric, gen_ai_metrics.GEN_AI_SERVER_REQUEST_DURATION)
    (point,) = duration.histogram.data_points
    assert point.count == sum(point.bucket_counts) == 1
    assert len(point.bucket_counts) == len(point.explicit_bounds) + 1
    assert told(point.attributes) == {"alias": "m", "backend": "first"}
    assert duration.unit == "s"
    counted = await asyncio.to_thread(collector.metric, "penstock_requests_total")
    (total,) = counted.sum.data_points
    assert counted.sum.is_monotonic
    assert total.as_double == 1
    assert 0 < total.start_time_unix_nano < total.time_unix_nano
    documents = await asyncio.to_thread(collector.metric, "tensafe_vllm_requests_total")
    assert told(documents.sum.data_points[0].attributes) == {"status": "200"}
    up = await asyncio.to_thread(collector.metric, "penstock_backend_up")
    assert up.gauge.data_points[0].as_double == 1


async def test_errors_are_spans_with_their_status(
    gateway: StartGateway, scripted_engine: Engine, http_collector: HttpCollector
) -> None:
    """A refusal is the caller's mistake, an engine that fails is an error of both spans, and a broken stream is one too."""
    one = await gateway(config(scripted_engine, http_collector))
    assert (await once(one.url, "/v1/chat/completions", {**CHAT, "model": "x"})).status == 404
    (refused,) = await asyncio.to_thread(http_collector.spans, 1)
    assert told(refused.attributes)[http.HTTP_RESPONSE_STATUS_CODE] == 404
    assert refused.status.code == Status.STATUS_CODE_UNSET
    scripted_engine.script = Script(status=500)
    status = (await once(one.url, "/v1/chat/completions", CHAT)).status
    _, failed, asked = await asyncio.to_thread(http_collector.spans, 3)
    for span in (failed, asked):
        assert told(span.attributes)[err.ERROR_TYPE] == str(status)
        assert span.status.code == Status.STATUS_CODE_ERROR
    scripted_engine.script = Script(count=5, cut_after=3)
    await once(one.url, "/v1/chat/completions", {**CHAT, "stream": True})
    broken = (await asyncio.to_thread(http_collector.spans, 5))[4]
    assert told(broken.attributes)[err.ERROR_TYPE] == "broken"


async def test_the_clients_decision_holds_and_a_share_of_the_others_is_traced(
    gateway: StartGateway, scripted_engine: Engine, http_collector: HttpCollector
) -> None:
    """Not chosen is told to engines as well, so that they do not choose anew."""
    one = await gateway(config(scripted_engine, http_collector, sample="0%"))
    await once(one.url, "/v1/chat/completions", CHAT)
    unchosen = sent_on(scripted_engine)
    assert unchosen.endswith("-00")
    await once(one.url, "/v1/chat/completions", CHAT, f"traceparent: 00-{TRACE}-{PARENT}-00")
    assert sent_on(scripted_engine).startswith(f"00-{TRACE}-")
    await once(one.url, "/v1/chat/completions", CHAT, f"traceparent: 00-{'a' * 32}-{PARENT}-01")
    (span, _) = await asyncio.to_thread(http_collector.spans, 2)
    assert span.trace_id.hex() == "a" * 32
    assert await figure(one, "penstock_otel_dropped_total") == 0


@pytest.mark.parametrize("trouble", ["down", "busy", "still", "redirect"])
async def test_a_collector_in_trouble_costs_nobody_anything(
    gateway: StartGateway, scripted_engine: Engine, http_collector: HttpCollector, trouble: str
) -> None:
    """Down, answering 503, taking and never answering, sending elsewhere: requests are answered, and the figures tell."""
    settings = config(scripted_engine, http_collector)
    if trouble == "down":
        settings["otel"]["endpoint"] = "http://127.0.0.1:1"
    elif trouble == "busy":
        http_collector.status = 503
    elif trouble == "redirect":
        http_collector.status = 302
    else:
        http_collector.stands_still.set()
    one = await gateway(settings)
    async with Raw(one.url) as raw:
        for _ in range(20):
            raw.ask("/v1/chat/completions", CHAT)
            assert (await raw.answer()).status == 200
        if trouble == "still":
            await asyncio.to_thread(http_collector.asked, 1)
        else:
            await grows(one, "penstock_otel_failures_total")
        raw.ask("/v1/chat/completions", CHAT)
        assert (await raw.answer()).status == 200
    if trouble == "redirect":
        assert {head[":path"] for head in http_collector.heads} <= {"/v1/traces", "/v1/metrics"}
        await grows(one, "penstock_otel_dropped_total", 21)
    http_collector.released.set()


async def test_what_a_busy_collector_did_not_take_comes_again(
    gateway: StartGateway, scripted_engine: Engine, collector: Collector
) -> None:
    """503 and UNAVAILABLE are not the end of it."""
    if isinstance(collector, GrpcCollector):
        collector.refuse = grpc.StatusCode.UNAVAILABLE
    else:
        collector.status = 503
    one = await gateway(config(scripted_engine, collector, figures="1h"))
    await once(one.url, "/v1/chat/completions", CHAT)
    await asyncio.to_thread(collector.asked, 1)
    collector.status = 200
    if isinstance(collector, GrpcCollector):
        collector.refuse = None
    assert len(await asyncio.to_thread(collector.spans, 2)) == 2
    assert await figure(one, "penstock_otel_dropped_total") == 0


async def test_headers_for_the_collector_come_from_the_environment(
    gateway: StartGateway, scripted_engine: Engine, collector: Collector
) -> None:
    """A key for it never stands in the file."""
    settings: dict[str, Any] = config(scripted_engine, collector, headers_env="OUR_HEADERS")
    one = await gateway(settings, env={"OUR_HEADERS": "x-api-key=sesame%2C1, x-scope=a"})
    await once(one.url, "/v1/chat/completions", CHAT)
    await asyncio.to_thread(collector.spans, 2)
    assert collector.heads[0]["x-api-key"] == "sesame,1"
    assert collector.heads[0]["x-scope"] == "a"
