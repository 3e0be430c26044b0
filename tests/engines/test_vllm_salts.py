"""Two tenants through the gateway on a real vLLM: its prefix cache serves a tenant again, and no other."""

from __future__ import annotations

import hashlib

import pytest
from tests.engines.asking import get
from tests.engines.servers import GUIDE, VllmServer
from tests.fakes.gateway import StartGateway
from tests.fakes.raw import once

pytestmark = pytest.mark.asyncio

LONG = " ".join(f"Penstock stands before engines, said page {number}." for number in range(40))
"""More tokens than a block of the cache has."""


def hits(server: VllmServer) -> float:
    """Tokens of prompts that were found in its cache."""
    lines = get(server.port, "/metrics").body.decode().splitlines()
    return sum(float(line.split(" ")[-1]) for line in lines if line.startswith("vllm:prefix_cache_hits_total{"))


def asked(path: str, text: str) -> dict[str, object]:
    body: dict[str, object] = {"model": "m"}
    if path == "/v1/completions":
        return body | {"prompt": text, "max_tokens": 1}
    if path == "/v1/responses":
        return body | {"input": text, "max_output_tokens": 1}
    if path.startswith("/api/"):
        return body | {"messages": [{"role": "user", "content": text}], "stream": False, "options": {"num_predict": 1}}
    return body | {"messages": [{"role": "user", "content": text}], "max_tokens": 1}


async def test_no_tenant_is_served_from_anothers_cache(vllm_generate: VllmServer, gateway: StartGateway) -> None:
    """X15: the same long prompt, asked by one tenant twice, and by another between."""

    def caller(name: str, tenant: str) -> dict[str, object]:
        return {"tenant": tenant, "key_sha256": hashlib.sha256(f"sk-{name}".encode()).hexdigest()}

    one = await gateway(
        {
            "backends": {"gpu": {"kind": "vllm", "url": vllm_generate.url}},
            "aliases": {"m": {"targets": [{"backends": ["gpu"], "model": GUIDE}]}},
            "callers": {"a": caller("a", "acme"), "b": caller("b", "other"), "c": caller("c", "acme")},
            "limits": {"first_token": "5m", "total": "10m", "between_tokens": "5m"},
        }
    )

    async def found(path: str, name: str, text: str) -> float:
        before = hits(vllm_generate)
        answer = await once(one.url, path, asked(path, text), f"authorization: Bearer sk-{name}")
        assert answer.status == 200, answer.body
        return hits(vllm_generate) - before

    for path in ("/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages", "/api/chat"):
        text = f"{path} begins. {LONG}"
        assert await found(path, "a", text) == 0, path
        assert await found(path, "b", text) == 0, path
        assert await found(path, "c", text) > 0, path
        assert await found(path, "b", text) > 0, path
