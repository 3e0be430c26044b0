"""OTLP over gRPC: a unary call is one HTTP/2 request whose body is a length and a message, and that is all that is spoken here.

Port 4317 of a collector takes nothing else. HTTP/2 itself is h2's; the usual gRPC library would be three times the size of
everything else that the gateway installs, for one call without a stream.
"""

from __future__ import annotations

import socket
import ssl
import struct
import time
from collections.abc import Mapping
from urllib.parse import unquote, urlsplit

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from h2.exceptions import ProtocolError

from penstock.gateway.otel.export import ANSWER, LIMIT, Outcome, Signal

_PATHS = {
    "traces": "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    "metrics": "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
}
_AGAIN = frozenset({"1", "4", "8", "10", "11", "14", "15"})
"""Status codes that the protocol says may be sent again: cancelled, deadline, exhausted, aborted, range, unavailable, data loss."""
_READ = 65536


class _Lost(OSError):
    """The collector ended the connection, or the call."""


class GrpcSender:
    """One connection, one call at a time."""

    def __init__(self, endpoint: str, headers: Mapping[str, str], context: ssl.SSLContext | None) -> None:
        parts = urlsplit(endpoint)
        self._host, self._port = parts.hostname or "", parts.port or 4317
        self._context = context
        if context is not None:
            context.set_alpn_protocols(["h2"])
        self._head = [
            (":method", "POST"),
            (":scheme", "http" if context is None else "https"),
            (":authority", parts.netloc),
        ]
        self._more = [
            ("te", "trailers"),
            ("grpc-timeout", f"{int(LIMIT)}S"),
            ("content-type", "application/grpc"),
            *((name.lower(), value) for name, value in headers.items()),
        ]
        self._socket: socket.socket | None = None
        self._spoken = H2Connection()

    def send(self, signal: Signal, data: bytes) -> Outcome:
        """Export once, and once more where the connection had been given up meanwhile."""
        kept = self._socket is not None
        try:
            return self._call(signal, data)
        except (OSError, ProtocolError) as error:
            self.close()
            if not kept:
                return Outcome(str(error) or type(error).__name__, again=True)
        try:
            return self._call(signal, data)
        except (OSError, ProtocolError) as error:
            self.close()
            return Outcome(str(error) or type(error).__name__, again=True)

    def close(self) -> None:
        """End the connection; the next export opens another."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _call(self, signal: Signal, data: bytes) -> Outcome:
        until = time.monotonic() + LIMIT
        sock = self._connected()
        call = _Call(sock, self._spoken, until)
        call.begin([*self._head, (":path", _PATHS[signal]), *self._more])
        call.write(struct.pack(">BI", 0, len(data)) + data)
        call.finish()
        return call.outcome()

    def _connected(self) -> socket.socket:
        if self._socket is None:
            sock = socket.create_connection((self._host, self._port), timeout=LIMIT)
            try:
                self._socket = self._secured(sock)
            except OSError:
                sock.close()
                raise
            self._spoken = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
            self._spoken.initiate_connection()
        return self._socket

    def _secured(self, sock: socket.socket) -> socket.socket:
        if self._context is None:
            return sock
        return self._context.wrap_socket(sock, server_hostname=self._host)


class _Call:
    """One request and its answer."""

    def __init__(self, sock: socket.socket, spoken: H2Connection, until: float) -> None:
        self._sock = sock
        self._spoken = spoken
        self._until = until
        self._stream = spoken.get_next_available_stream_id()
        self._told: dict[str, str] = {}
        self._body = b""
        self._over = False

    def begin(self, head: list[tuple[str, str]]) -> None:
        self._spoken.send_headers(self._stream, head)

    def write(self, data: bytes) -> None:
        """All of it, as fast as the collector's windows allow; an answer that comes before that ends it."""
        while data and not self._over:
            room = min(
                self._spoken.local_flow_control_window(self._stream), self._spoken.max_outbound_frame_size, len(data)
            )
            if room <= 0:
                self._receive()
                continue
            self._spoken.send_data(self._stream, data[:room], end_stream=room == len(data))
            data = data[room:]
            self._flush()
        if data:
            self._spoken.reset_stream(self._stream, ErrorCodes.NO_ERROR)
        self._flush()

    def finish(self) -> None:
        while not self._over:
            self._receive()
        self._flush()

    def outcome(self) -> Outcome:
        status = self._told.get("grpc-status", "")
        if status == "0":
            return Outcome(answer=self._body[5:])
        if not status:
            code = self._told.get(":status", "")
            return Outcome(
                f"it answered {code or 'nothing'} and speaks no gRPC", again=code in {"429", "502", "503", "504"}
            )
        words = unquote(self._told.get("grpc-message", ""))[:200]
        return Outcome(f"it answered gRPC status {status} {words}".strip(), again=status in _AGAIN)

    def _receive(self) -> None:
        self._flush()
        self._limit()
        data = self._sock.recv(_READ)
        if not data:
            raise _Lost("the connection closed")
        for event in self._spoken.receive_data(data):
            self._heard(event)

    def _heard(self, event: Event) -> None:
        match event:
            case ConnectionTerminated():
                raise _Lost("the collector ended the connection")
            case StreamReset(stream_id=self._stream):
                # After the end of its answer it only says that it wants no more of ours.
                if event.error_code != ErrorCodes.NO_ERROR or "grpc-status" not in self._told:
                    raise _Lost("the collector ended the call")
                self._over = True
            case ResponseReceived(stream_id=self._stream) | TrailersReceived(stream_id=self._stream):
                self._told.update((str(name), str(value)) for name, value in event.headers or ())
            case DataReceived(stream_id=self._stream):
                self._body = (self._body + (event.data or b""))[:ANSWER]
                self._spoken.acknowledge_received_data(event.flow_controlled_length or 0, self._stream)
            case StreamEnded(stream_id=self._stream):
                self._over = True

    def _flush(self) -> None:
        if data := self._spoken.data_to_send():
            self._limit()
            self._sock.sendall(data)

    def _limit(self) -> None:
        rest = self._until - time.monotonic()
        if rest <= 0:
            raise TimeoutError(f"no answer within {LIMIT:g} s")
        self._sock.settimeout(rest)
