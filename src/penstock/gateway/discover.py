"""Which models an engine serves, asked over HTTP before the gateway runs.

The answer is empty where nobody answers, where something else answers, and where we ourselves do: the gateway must never
offer its own listeners as an engine. Blocking, with a deadline; a running gateway calls it off its event loop. Only
local names and what the configuration names are ever asked.
"""

from __future__ import annotations

import http.client
import json
import time
from typing import Final
from urllib.parse import urlsplit

from penstock.types import Kind

DEADLINE: Final = 1.5
"""Seconds for one engine to list its models; on this machine it takes milliseconds."""
LARGEST: Final = 2**20
"""Bytes of a list that we read."""
OUR_HEADER: Final = "x-penstock-request-id"
"""Every answer of a Penstock carries it, so an answer that does comes from one of us."""


def models(kind: Kind, url: str) -> tuple[str, ...]:
    """The models that the engine of this kind at this base URL lists, in its own order."""
    path = "/api/tags" if kind is Kind.OLLAMA else "/v1/models"
    listed = _listed(url, path)
    if kind is Kind.OLLAMA:
        return _names(listed, "models", "name")
    if kind is Kind.VLLM and not _owned_by_vllm(listed):
        return ()
    return _names(listed, "data", "id")


def _listed(url: str, path: str) -> dict[str, object]:
    """The JSON object at this path, or an empty one for anything else, ourselves included."""
    try:
        raw = _get(url, path)
        answer = json.loads(raw)
    except (OSError, http.client.HTTPException, ValueError):
        return {}
    return answer if isinstance(answer, dict) else {}


def _get(url: str, path: str) -> bytes:
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    deadline = time.monotonic() + DEADLINE
    connection = kind(parts.hostname or "", parts.port, timeout=DEADLINE)
    try:
        connection.request("GET", parts.path + path, headers={"accept": "application/json"})
        answer = connection.getresponse()
        if answer.status != 200 or answer.getheader(OUR_HEADER):
            return b""
        body = b""
        while len(body) <= LARGEST and time.monotonic() < deadline:
            piece = answer.read1(65536)
            if not piece:
                return body
            body += piece
        return b""
    finally:
        connection.close()


def _names(listed: dict[str, object], key: str, field: str) -> tuple[str, ...]:
    entries = listed.get(key)
    if not isinstance(entries, list):
        return ()
    names = [entry.get(field) for entry in entries if isinstance(entry, dict)]
    return tuple(dict.fromkeys(name for name in names if isinstance(name, str) and name))


def _owned_by_vllm(listed: dict[str, object]) -> bool:
    entries = listed.get("data")
    return isinstance(entries, list) and any(
        isinstance(entry, dict) and entry.get("owned_by") == "vllm" for entry in entries
    )
