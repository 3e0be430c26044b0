"""The head of an answer to a client: raw lines, from what became of its request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock.gateway.answer import content_type_line

if TYPE_CHECKING:
    from penstock.gateway.client import Headers
    from penstock.gateway.request import Request


def full(request: Request, content_type: str) -> Headers:
    """Of an engine's answer: who gave it, and what it took."""
    headers = plain(request, content_type)
    if request.attempt is not None:
        headers.append(request.attempt.way.head)
    if request.fallback:
        headers.append(b"x-penstock-fallback: " + request.fallback.encode() + b"\r\n")
    if request.dropped:
        headers.append(b"x-penstock-dropped: " + request.dropped + b"\r\n")
    return headers


def plain(request: Request, content_type: str) -> Headers:
    """Of any answer, refusals included."""
    headers = [content_type_line(content_type), b"x-penstock-request-id: ", request.id, b"\r\n"]
    if request.quota is not None:
        headers.append(request.line.quotas.lines(request.quota))
    if request.trace:
        headers.append(b"traceparent: " + request.trace + b"\r\n")
    if b"origin" in request.headers:
        headers.append(b"access-control-allow-origin: " + request.headers[b"origin"] + b"\r\nvary: origin\r\n")
    return headers


def refused(request: Request, retry_after: int | None) -> Headers:
    """Of a refusal; seconds after which to ask again, where that may help."""
    headers = plain(request, "application/json")
    if retry_after is not None:
        headers.append(b"retry-after: %d\r\n" % retry_after)
    return headers
