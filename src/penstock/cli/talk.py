"""What the verbs need of HTTP to talk to a running gateway: one request, one answer, or one stream.

A client of our own public faces and nothing more; errors come back as the error tree, with what was attempted.
"""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import msgspec

from penstock.address import base_url
from penstock.errors import BrokenAnswer, ConfigError, EngineFault, Unreachable

CONNECT: Final = 5.0
SILENCE: Final = 300.0
"""Seconds without a byte after which we give up; the gateway's own limits are shorter."""
LARGEST: Final = 16 * 2**20
DEFAULT_URL: Final = "http://127.0.0.1:8000"
KEY_NAME: Final = "PENSTOCK_API_KEY"


class Answer(NamedTuple):
    """A whole answer; `data` is what its JSON holds."""

    status: int
    headers: dict[str, str]
    data: dict[str, object]


class Gateway:
    """A Penstock at a URL, as one of its clients."""

    def __init__(self, url: str, key: str = "") -> None:
        try:
            self.url = base_url(url)
        except ValueError as expected:
            raise ConfigError(
                f"Asking the gateway at {url}: --url expects {expected}.", hint=f"Try {DEFAULT_URL}."
            ) from None
        self._key = key

    def get(self, path: str, *, silence: float = SILENCE) -> Answer:
        """The answer, whatever its status."""
        return self._whole("GET", path, None, silence)

    def post(self, path: str, body: object, *, silence: float = SILENCE) -> Answer:
        """The same for a request with a JSON body."""
        return self._whole("POST", path, msgspec.json.encode(body), silence)

    @contextmanager
    def stream(self, path: str, body: object) -> Iterator[Iterator[bytes]]:
        """Pieces of a streamed answer as they arrive; leaving the block closes the connection and so stops the engine."""
        with self._answered("POST", path, msgspec.json.encode(body), SILENCE) as answer:
            if answer.status != 200:
                raise refused(_read(answer, f"POST {self.url}{path}"), f"POST {self.url}{path}")
            yield self._pieces(answer, path)

    def _pieces(self, answer: http.client.HTTPResponse, path: str) -> Iterator[bytes]:
        while True:
            try:
                piece = answer.read1(65536)
            except (OSError, http.client.HTTPException) as broken:
                raise BrokenAnswer(
                    f"Reading the stream of {self.url}{path}: {_cause(broken)}.", hint="Ask again."
                ) from None
            if not piece:
                return
            yield piece

    def _whole(self, method: str, path: str, body: bytes | None, silence: float) -> Answer:
        with self._answered(method, path, body, silence) as answer:
            return _read(answer, f"{method} {self.url}{path}")

    @contextmanager
    def _answered(
        self, method: str, path: str, body: bytes | None, silence: float
    ) -> Iterator[http.client.HTTPResponse]:
        parts = urlsplit(self.url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(parts.hostname or "", parts.port, timeout=min(CONNECT, silence))
        headers = {"accept": "application/json, text/event-stream"}
        if body is not None:
            headers["content-type"] = "application/json"
        if self._key:
            headers["authorization"] = f"Bearer {self._key}"
        try:
            try:
                connection.connect()
                if isinstance(connection.sock, socket.socket):
                    connection.sock.settimeout(silence)
                connection.request(method, parts.path + path, body, headers)
                answer = connection.getresponse()
            except ssl.SSLCertVerificationError as distrusted:
                # No fault of the gateway's, and no waiting helps.
                raise ConfigError(
                    f"{method} {self.url}{path}: its certificate is not trusted here, {distrusted.verify_message}.",
                    hint="Name the certificate, or the one that signed it: SSL_CERT_FILE=cert.pem penstock …",
                ) from None
            except (OSError, http.client.HTTPException) as broken:
                raise Unreachable(
                    f"{method} {self.url}{path}: {_cause(broken)}.",
                    hint="Is Penstock running there? Start it with `penstock up`, or say where it is with --url.",
                ) from None
            yield answer
        finally:
            connection.close()


def refused(answer: Answer, attempt: str) -> EngineFault:
    """The error behind an answer that is none of the 2xx, in its own words."""
    said = answer.data.get("error", answer.data.get("detail", ""))
    if isinstance(said, dict):
        said = said.get("message", "")
    hint = f"Set {KEY_NAME} to your key." if answer.status in (401, 403) else ""
    return EngineFault(f"{attempt}: {answer.status} {said or 'without a reason'}".rstrip("."), hint=hint)


def _read(answer: http.client.HTTPResponse, attempt: str) -> Answer:
    try:
        raw = answer.read(LARGEST)
    except (OSError, http.client.HTTPException) as broken:
        raise BrokenAnswer(f"{attempt}: the answer broke off, {_cause(broken)}.", hint="Ask again.") from None
    try:
        data = json.loads(raw) if raw else {}
    except ValueError:
        data = {}
    headers = {name.lower(): value for name, value in answer.getheaders()}
    return Answer(answer.status, headers, data if isinstance(data, dict) else {})


def _cause(broken: Exception) -> str:
    if isinstance(broken, TimeoutError):
        return "no answer in time"
    if isinstance(broken, OSError) and broken.strerror:
        return broken.strerror.lower()
    return str(broken) or type(broken).__name__
