"""A collector that takes OTLP over HTTP or gRPC on a real socket, and reads it with OpenTelemetry's own messages."""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self, TypeVar

import grpc
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.trace.v1.trace_pb2 import Span

T = TypeVar("T")
LIMIT = 30.0
_TRACE = "/opentelemetry.proto.collector.trace.v1.TraceService/"
_METRICS = "/opentelemetry.proto.collector.metrics.v1.MetricsService/"


class Collector:
    """What it was sent. `status` is what it answers next over HTTP; `stands_still` makes it take and never answer."""

    def __init__(self) -> None:
        self.heads: list[dict[str, str]] = []
        self.resources: list[dict[str, Any]] = []
        self.status = 200
        self.stands_still = threading.Event()
        self.released = threading.Event()
        self._spans: list[Span] = []
        self._metrics: dict[str, Metric] = {}
        self._came: queue.Queue[None] = queue.Queue()
        self.endpoint = ""

    def spans(self, count: int) -> list[Span]:
        """The first so many spans, once they have come."""
        return self._until(lambda: len(self._spans) >= count, lambda: self._spans[:count])

    def metric(self, name: str) -> Metric:
        """The latest of this name, once one has come."""
        return self._until(lambda: name in self._metrics, lambda: self._metrics[name])

    def asked(self, count: int) -> None:
        """Until it was sent so many exports, taken or not."""
        self._until(lambda: len(self.heads) >= count, lambda: None)

    def _until(self, holds: Callable[[], bool], found: Callable[[], T]) -> T:
        until = time.monotonic() + LIMIT
        while not holds():
            self._came.get(timeout=max(0.01, until - time.monotonic()))
        return found()

    def take(self, path: str, data: bytes) -> bytes:
        """Bytes of either signal; the answer."""
        if "trace" in path:
            request = ExportTraceServiceRequest.FromString(data)
            for one in request.resource_spans:
                self.resources.append(told(one.resource.attributes))
                self._spans += [span for scope in one.scope_spans for span in scope.spans]
            return ExportTraceServiceResponse().SerializeToString()
        figures = ExportMetricsServiceRequest.FromString(data)
        for told_by in figures.resource_metrics:
            self.resources.append(told(told_by.resource.attributes))
            self._metrics.update({metric.name: metric for scope in told_by.scope_metrics for metric in scope.metrics})
        return ExportMetricsServiceResponse().SerializeToString()

    def restart(self) -> None:
        """End every connection, and listen on the same port again."""
        raise AssertionError("a collector of no kind")

    def came(self, head: dict[str, str]) -> None:
        """One export, before it is answered."""
        self.heads.append(head)
        self._came.put(None)
        if self.stands_still.is_set():
            self.released.wait(LIMIT)


class _HttpServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(address, handler)
        self._open: list[socket.socket] = []

    def get_request(self) -> tuple[socket.socket, Any]:
        taken = super().get_request()
        self._open.append(taken[0])
        return taken

    def end(self) -> None:
        """Close what listens and every connection."""
        self.server_close()
        for one in self._open:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


class HttpCollector(Collector):
    """OTLP over HTTP with protobuf."""

    def __enter__(self) -> Self:
        collector = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                data = self.rfile.read(int(self.headers["content-length"]))
                body = b""
                if collector.status == 200:
                    body = collector.take(self.path, data)
                collector.came({":path": self.path, **{k.lower(): v for k, v in self.headers.items()}})
                self.send_response(collector.status)
                if collector.status == 302:
                    self.send_header("location", "/elsewhere")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Silence."""

        self._handler = Handler
        self._listen(0)
        return self

    def _listen(self, port: int) -> None:
        self._server = _HttpServer(("127.0.0.1", port), self._handler)
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def restart(self) -> None:
        """End every connection, and listen on the same port again."""
        port = int(self._server.server_address[1])
        self._server.shutdown()
        self._server.end()
        self._listen(port)

    def __exit__(self, *_: object) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.end()


class GrpcCollector(Collector):
    """OTLP over gRPC, served by gRPC's own library."""

    refuse: grpc.StatusCode | None = None

    def __enter__(self) -> Self:
        self._listen(0)
        return self

    def _listen(self, port: int) -> None:
        self._server = grpc.server(futures.ThreadPoolExecutor(4))
        self._server.add_generic_rpc_handlers((_Calls(self),))
        self.endpoint = f"http://127.0.0.1:{self._server.add_insecure_port(f'127.0.0.1:{port}')}"
        self._server.start()

    def restart(self) -> None:
        """End every connection, and listen on the same port again."""
        port = int(self.endpoint.rpartition(":")[2])
        self._server.stop(None).wait()
        self._listen(port)

    def __exit__(self, *_: object) -> None:
        self.released.set()
        self._server.stop(None).wait()


class _Calls(grpc.GenericRpcHandler):
    def __init__(self, collector: GrpcCollector) -> None:
        self._collector = collector

    def service(self, details: Any) -> Any:  # noqa: ANN401 - grpcio has no types
        if details.method not in {f"{_TRACE}Export", f"{_METRICS}Export"}:
            return None

        def export(data: bytes, context: Any) -> bytes:  # noqa: ANN401 - grpcio has no types
            head = {":path": details.method, **{key: str(value) for key, value in context.invocation_metadata()}}
            if self._collector.refuse is not None:
                self._collector.came(head)
                context.abort(self._collector.refuse, "not now")
            answer = self._collector.take(details.method.lower(), data)
            self._collector.came(head)
            return answer

        return grpc.unary_unary_rpc_method_handler(export)


def told(attributes: Any) -> dict[str, Any]:  # noqa: ANN401 - protobuf's repeated field
    """Attributes as a mapping."""
    return dict(_pairs(attributes))


def _pairs(attributes: Any) -> Iterator[tuple[str, Any]]:  # noqa: ANN401 - protobuf's repeated field
    for one in attributes:
        assert isinstance(one, KeyValue)
        yield one.key, _plain(one.value)


def _plain(value: AnyValue) -> Any:  # noqa: ANN401 - whatever was sent
    which = value.WhichOneof("value")
    if which == "array_value":
        return tuple(_plain(one) for one in value.array_value.values)
    return getattr(value, which or "string_value")
