"""OTLP over HTTP with protobuf: one POST for each export, on a connection that is kept. Redirects are not followed."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Mapping
from urllib.parse import urlsplit

from penstock.gateway.otel.export import ANSWER, LIMIT, Outcome, Signal

_AGAIN = frozenset({408, 429, 502, 503, 504})
"""What the protocol says may be sent again."""


class HttpSender:
    """To `<endpoint>/v1/traces` and `<endpoint>/v1/metrics`."""

    def __init__(self, endpoint: str, headers: Mapping[str, str], context: ssl.SSLContext | None) -> None:
        parts = urlsplit(endpoint)
        self._prefix = parts.path.rstrip("/")
        self._headers = {**headers, "content-type": "application/x-protobuf"}
        host = parts.hostname or ""
        self._connection = (
            http.client.HTTPConnection(host, parts.port, timeout=LIMIT)
            if context is None
            else http.client.HTTPSConnection(host, parts.port, timeout=LIMIT, context=context)
        )

    def send(self, signal: Signal, data: bytes) -> Outcome:
        """Export once, and once more where the connection had been given up meanwhile."""
        kept = self._connection.sock is not None
        try:
            return self._post(signal, data)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            if not kept:
                return Outcome(str(error) or type(error).__name__, again=True)
        try:
            return self._post(signal, data)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            return Outcome(str(error) or type(error).__name__, again=True)

    def _post(self, signal: Signal, data: bytes) -> Outcome:
        self._connection.request("POST", f"{self._prefix}/v1/{signal}", data, self._headers)
        answer = self._connection.getresponse()
        body = answer.read(ANSWER)
        if not answer.isclosed():
            self.close()
        if answer.status == 200:
            return Outcome(answer=body)
        wait = answer.getheader("retry-after", "")
        seconds = float(wait) if wait.isascii() and wait.isdigit() else 0.0
        return Outcome(f"it answered {answer.status}", again=answer.status in _AGAIN, wait=seconds)

    def close(self) -> None:
        """End the connection; the next export opens another."""
        self._connection.close()
