"""Requests that are over, as OpenTelemetry spans: names and attributes of the semantic conventions for HTTP and for generative AI.

Two spans for each: the request as a client sent it (kind server), and what an engine was asked for it (kind client), whose id
that engine was given as its parent. Pure but for the ids it draws.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

from penstock.gateway.traces import Ended

Value = str | int | float | bool | tuple[str, ...]

_OPERATIONS = {
    "chat": "chat",
    "messages": "chat",
    "responses": "chat",
    "completion": "text_completion",
    "embedding": "embeddings",
}
"""The conventions' names of what is asked; what they have none for keeps ours."""
_PROVIDERS = {"embedded": "llama_cpp"}
_SERVER_FAULT = 500
_CLIENT_FAULT = 400


def request_of(ended: Iterable[Ended], resource: Resource, scope: InstrumentationScope) -> ExportTraceServiceRequest:
    """What an exporter sends for these requests."""
    spans = [span for one in ended for span in spans_of(one)]
    return ExportTraceServiceRequest(
        resource_spans=[ResourceSpans(resource=resource, scope_spans=[ScopeSpans(scope=scope, spans=spans)])]
    )


def spans_of(one: Ended) -> Iterator[Span]:
    """The span of the request, and that of the engine's answer where one was asked."""
    _, trace, ours, flags = one.trace.split(b"-")
    trace_id, own = bytes.fromhex(trace.decode()), os.urandom(8)
    parent = bytes.fromhex(one.parent.split(b"-")[2].decode()) if one.parent is not None else b""
    yield Span(
        trace_id=trace_id,
        span_id=own,
        parent_span_id=parent,
        flags=int(flags, 16),
        name=f"POST {one.path}",
        kind=Span.SPAN_KIND_SERVER,
        start_time_unix_nano=one.arrived,
        end_time_unix_nano=one.ended,
        attributes=attributes(_of_request(one)),
        status=_status(one, _SERVER_FAULT),
    )
    if one.sent:
        yield Span(
            trace_id=trace_id,
            span_id=bytes.fromhex(ours.decode()),
            parent_span_id=own,
            flags=int(flags, 16),
            name=f"{_operation(one)} {one.model}",
            kind=Span.SPAN_KIND_CLIENT,
            start_time_unix_nano=one.sent,
            end_time_unix_nano=one.ended,
            attributes=attributes(_of_answer(one)),
            status=_status(one, _CLIENT_FAULT),
        )


def attributes(pairs: Iterable[tuple[str, Value]]) -> list[KeyValue]:
    """As the protocol writes them; what is empty is left out."""
    return [KeyValue(key=key, value=_value(value)) for key, value in pairs if value not in {"", ()}]


def _value(value: Value) -> AnyValue:
    match value:
        case bool():
            return AnyValue(bool_value=value)
        case int():
            return AnyValue(int_value=value)
        case float():
            return AnyValue(double_value=value)
        case str():
            return AnyValue(string_value=value)
        case _:
            return AnyValue(array_value=ArrayValue(values=[_value(one) for one in value]))


def _operation(one: Ended) -> str:
    return _OPERATIONS.get(one.operation, one.operation)


def _of_request(one: Ended) -> Iterator[tuple[str, Value]]:
    yield "http.request.method", "POST"
    yield "http.route", one.path
    yield "url.path", one.path
    yield "http.response.status_code", one.status
    yield "error.type", _error_type(one, _SERVER_FAULT)
    yield "penstock.request.id", one.request.decode("latin-1")
    yield "penstock.tenant", one.tenant
    yield "penstock.alias", one.alias
    yield "penstock.backend", one.backend
    yield "penstock.attempts", one.attempts
    yield "penstock.fallback", one.fallback
    if one.queued:
        yield "penstock.queue.seconds", one.queued


def _of_answer(one: Ended) -> Iterator[tuple[str, Value]]:
    yield "gen_ai.operation.name", _operation(one)
    yield "gen_ai.provider.name", _PROVIDERS.get(one.kind, one.kind)
    yield "gen_ai.request.model", one.model
    yield "gen_ai.request.stream", one.stream
    yield "server.address", one.host
    if one.port:
        yield "server.port", one.port
    if one.prompt_tokens is not None:
        yield "gen_ai.usage.input_tokens", one.prompt_tokens
        yield "gen_ai.usage.output_tokens", one.completion_tokens
    if one.finish:
        yield "gen_ai.response.finish_reasons", (one.finish,)
    if one.first:
        yield "gen_ai.response.time_to_first_chunk", (one.first - one.sent) / 1e9
    yield "error.type", _error_type(one, _CLIENT_FAULT)


def _error_type(one: Ended, fault: int) -> str:
    """A status that is an error on this side, or the word for an answer that did not end well."""
    if one.status >= fault:
        return str(one.status)
    return "" if one.outcome in {"answered", "refused"} else one.outcome


def _status(one: Ended, fault: int) -> Status | None:
    if not _error_type(one, fault):
        return None
    return Status(code=Status.STATUS_CODE_ERROR, message=one.error)
