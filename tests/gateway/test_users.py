"""Whom a caller asks for: believed of those that may say so, recorded, and never sent on."""

from __future__ import annotations

import asyncio
import hashlib

import pytest
from tests.fakes.gateway import StartGateway
from tests.fakes.raw import once

from penstock.faults.engine import Engine
from penstock.gateway.users import LONGEST, end_user


def test_the_first_name_that_is_there_and_no_more_of_it_than_fits() -> None:
    named = {b"x-openwebui-user-name": b"Jane", b"x-openwebui-user-email": b"jane@corp.example"}
    assert end_user({**named, b"x-openwebui-user-id": b"u-1"}) == "u-1"
    assert end_user(named) == "jane@corp.example"
    assert end_user({}) == ""
    assert end_user({b"x-openwebui-user-name": "J\x1b[31mé".encode() + b"\xff"}) == "J?[31mé\ufffd"
    assert len(end_user({b"x-openwebui-user-id": b"x" * 500})) == LONGEST


@pytest.mark.asyncio
async def test_only_trusted_callers_name_users(gateway: StartGateway, scripted_engine: Engine) -> None:
    """S0.2: of others the same header is nothing; engines never see it; tenants have their figures."""

    def caller(name: str, **also: object) -> dict[str, object]:
        return {"tenant": f"{name}-corp", "key_sha256": hashlib.sha256(f"sk-{name}".encode()).hexdigest(), **also}

    one = await gateway(
        {
            "backends": {"first": {"kind": "vllm", "url": scripted_engine.url, "probe": "100ms"}},
            "aliases": {"m": {"targets": [{"backends": ["first"], "model": "m"}]}},
            "callers": {"webui": caller("webui", forwards_users=True), "other": caller("other")},
        }
    )
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    for name, user in (("webui", "u-17"), ("other", "u-forged")):
        headers = (
            f"authorization: Bearer sk-{name}",
            f"x-openwebui-user-id: {user}",
            f"x-openwebui-user-email: {user}@corp.example",
            "x-openwebui-user-role: admin",
        )
        assert (await once(one.url, "/v1/chat/completions", body, *headers)).status == 200
        sent = scripted_engine.requests[-1]
        assert user not in f"{sent.headers}{sent.body!r}"
    async with asyncio.timeout(10):
        while one.log.count('"event":"request"') < 2:
            await once(one.url, "/livez", None)
    assert '"end_user":"u-17"' in one.log
    assert "forged" not in one.log
    assert "corp.example" not in one.log
    figures = (await once(one.url, "/metrics", None, "authorization: Bearer sk-other")).body
    assert b'penstock_tenant_requests_total{outcome="answered",tenant="webui-corp"} 1.0' in figures
    assert b'penstock_tenant_tokens_total{direction="completion",tenant="other-corp"}' in figures
