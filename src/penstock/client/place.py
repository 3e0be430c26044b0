"""One engine as a call sees it: where it is, which model to ask, its words, and what its answers showed about it.

Requests are written and responses judged here; nothing here does I/O.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

import httpcore2
import msgspec

from penstock import __version__
from penstock.address import base_url
from penstock.client.answer import Source
from penstock.client.codec import Codec, Outgoing
from penstock.client.failures import ModelNotServed, WrongPath
from penstock.client.io import Reply, Request
from penstock.client.ollama_codec import OllamaCodec
from penstock.client.openai_codec import OpenAICodec
from penstock.client.retry import REST, retry_after
from penstock.errors import (
    BadRequest,
    BrokenAnswer,
    ConfigError,
    EngineRefused,
    Forbidden,
    PenstockError,
    RateLimited,
    TooLarge,
    Unauthorized,
)
from penstock.types import Kind, Wire

CODECS: dict[Wire, Codec] = {Wire.OPENAI: OpenAICodec(), Wire.OLLAMA: OllamaCodec()}


class Target(msgspec.Struct, frozen=True):
    """An engine and the model to ask of it."""

    kind: Kind
    url: str
    """With or without `/v1` (X2)."""
    model: str
    key: str = ""

    def __repr__(self) -> str:  # the key stays out of logs
        return f"Target(kind={self.kind.value!r}, url={self.url!r}, model={self.model!r})"


class Place:
    """A target, ready to be asked."""

    def __init__(self, target: Target) -> None:
        self.kind = target.kind
        self.model = target.model
        try:
            self.url = base_url(target.url)
        except ValueError as expected:
            raise ConfigError(f"The URL {target.url!r} cannot be used.", hint=f"It expects {expected}.") from None
        self.codec = CODECS[target.kind.wire]
        self.gateway = False
        """Whether its answers say that a Penstock gateway gives them: then it does the falling back."""
        self._resting_until = 0.0
        self._base = httpcore2.URL(self.url)
        self._urls: dict[str, httpcore2.URL] = {}
        self._headers = _headers(self._base, target.key)

    @property
    def label(self) -> str:
        return self.kind.label

    @property
    def secure(self) -> bool:
        return self._base.scheme == b"https"

    def resting(self) -> bool:
        return time.monotonic() < self._resting_until

    def rest(self) -> None:
        self._resting_until = time.monotonic() + REST

    def post(self, outgoing: Outgoing) -> Request:
        length = (b"Content-Length", b"%d" % len(outgoing.body))
        return Request(b"POST", self._at(outgoing.path), [*self._headers, length], outgoing.body)

    def get(self, path: str) -> Request:
        return Request(b"GET", self._at(path), self._headers)

    def source(self, headers: Mapping[bytes, bytes], model: str, dropped: tuple[str, ...], reason: str) -> Source:
        """Who gave the answer with these headers."""
        if b"x-penstock-request-id" not in headers:
            return Source(self.kind, self.url, model, reason, dropped=dropped)
        self.gateway = True
        left_out = headers.get(b"x-penstock-dropped", b"").decode("latin-1")
        return Source(
            self.kind,
            self.url,
            model,
            reason or headers.get(b"x-penstock-fallback", b"").decode("latin-1"),
            headers.get(b"x-penstock-backend", b"").decode("latin-1"),
            gateway=True,
            dropped=dropped + tuple(part.strip() for part in left_out.split(",") if part.strip()),
        )

    def judge(self, reply: Reply, model: str) -> PenstockError:
        """What an answer that is no success means; whose fault it is decides what happens next."""
        self.gateway = self.gateway or b"x-penstock-request-id" in reply.headers
        said = self.codec.error(reply.body)
        status = reply.status
        if status == 404 and _about_model(reply.body, said):
            return ModelNotServed(model, self.url, None)
        if status in _OTHERS or status < 400 or status >= 500:
            return self._fault(status, said, retry_after(reply.headers.get(b"retry-after")))
        return _CALLERS.get(status, BadRequest)(f"{said} ({status})", hint=_HINTS.get(status, ""))

    def _fault(self, status: int, said: str, wait: int | None) -> PenstockError:
        if status == 404:
            hint = f"Is {self.url} the base URL of {self.label}?"
            return WrongPath(f"it answered 404 for the path: {said}", hint=hint)
        if status == 429:
            return RateLimited(f"it answered 429: {said}", retry_after=wait)
        if status < 400:
            return BrokenAnswer(f"it answered {status} to an API request", hint="Is there a proxy in between?")
        return EngineRefused(f"it answered {status}: {said}", retry_after=wait)

    def fits(self, headers: Mapping[bytes, bytes], *, stream: bool) -> None:
        """Raises BrokenAnswer where the head of a success does not fit what was asked (S1.35)."""
        kind = headers.get(b"content-type", b"")
        expected = self.codec.content_type if stream else "application/json"
        if not kind.startswith(expected.encode()):
            shown = kind.decode("latin-1") or "no content type"
            raise BrokenAnswer(
                f"it answered with {shown} where {expected} belongs", hint="Is there a proxy in between?"
            )

    def _at(self, path: str) -> httpcore2.URL:
        url = self._urls.get(path)
        if url is None:
            base = self._base
            target = base.target.rstrip(b"/") + path.encode()
            url = httpcore2.URL(scheme=base.scheme, host=base.host, port=base.port, target=target)
            self._urls[path] = url
        return url


_OTHERS = frozenset({404, 408, 429})
_CALLERS: dict[int, type[PenstockError]] = {401: Unauthorized, 403: Forbidden, 413: TooLarge}
_HINTS = {
    401: "Give api_key, or set OPENAI_API_KEY beside OPENAI_BASE_URL.",
    403: "This key may not ask for that model.",
    413: "The request is larger than the server takes.",
}


def _headers(url: httpcore2.URL, key: str) -> list[tuple[bytes, bytes]]:
    port = b"" if url.port in {None, 80, 443} else b":%d" % (url.port or 0)
    host = b"[%b]" % url.host if b":" in url.host else url.host
    headers = [
        (b"Host", host + port),
        (b"Accept-Encoding", b"identity"),
        (b"Content-Type", b"application/json"),
        (b"User-Agent", b"penstock/" + __version__.encode()),
    ]
    if key:
        if not key.isascii() or not key.isprintable() or key != key.strip():
            raise ConfigError("api_key cannot be used.", hint="A key consists of printable ASCII characters.")
        headers.append((b"Authorization", b"Bearer " + key.encode("ascii")))
    return headers


def _about_model(body: bytes, said: str) -> bool:
    """Whether a 404 means the model: our gateway has a code for it, engines have the word (W31)."""
    if b'"route_not_found"' in body:
        return False
    return b'"model_not_found"' in body or "model" in said.lower()
